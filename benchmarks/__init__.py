"""The runs behind the numbers of the README: each measures and writes nothing into the package."""
