"""People in a picture: where they are, and crops of them with the exact way back."""
