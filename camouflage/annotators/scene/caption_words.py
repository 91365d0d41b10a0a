"""The words that `clean_caption` decides by. All lists are ours.

A caption keeps only words that are listed here, so a name goes because nobody listed it. Words
that are given names as well ("will", "mark", "rose", "april") are left out, and so are plurals
that are surnames ("woods", "banks", "gates", "jobs"). Regular forms are made from the stems at
import, never guessed from the end of an unknown word: "reeves" is no form of anything.
"""

from __future__ import annotations

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _with_s(word: str) -> str:
    if re.search(r"(?:[sxz]|ch|sh|[^aeiou]o)$", word) and word not in _ONLY_S:
        return word + "es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", word) + "s"


def _doubled(word: str) -> str:
    """From "stop" to "stopp"; "open" stays."""
    one_syllable = re.fullmatch(r"(?:qu|[^aeiou])*[aeiou][^aeiouwxy]", word)
    return word + word[-1] if one_syllable else word


def _with_ed(word: str) -> str:
    if word.endswith("e"):
        return word + "d"
    return re.sub(r"(?<=[^aeiou])y$", "i", _doubled(word)) + "ed"


def _with_ing(word: str) -> str:
    if word.endswith("ie"):
        return word[:-2] + "ying"
    return (re.sub(r"(?<=[^e])e$", "", word) if word[-1] == "e" else _doubled(word)) + "ing"


_ONLY_S = _set("avocado burrito photo piano taco tuxedo casino")

NOISE = _set("araf arafed arafes araffe araffed araffes araffy arafy")
"""What BLIP puts before or in place of a subject; it means nothing and is no name."""

NAMING = _set("called dr featuring madam miss mr mrs ms named nicknamed prof sir starring")
"""A name follows: they go with it."""

ROLES = _set(
    """
    actor actress boxer celebrity ceo coach comedian footballer golfer guitarist minister model
    musician politician rapper senator singer wrestler
    """
)
"""A name may follow: they stay, it goes. ("King", "president" and the like are not listed: they
go with the name, as some of them fit one person only.)"""

OPENERS = _set(
    """
    a an baby black boy boys child children close couple crowd few five four girl girls group he
    here it kids large man many men old people person several she six small some somebody someone
    the there these they this three to two view white woman women young
    """
)
"""Words that a sentence may begin with; other words with a capital are taken for names."""

# What follows is in two halves: words that are hardly ever a surname, and words that may be one.

_CLEAR_WORDS = _set(
    """
    a about above across adorned after against aged ahead all almost along alongside also am amid
    among an and another any anyone applauding are around as aside at atop away back baked baking
    barefoot be because been before behind being below beneath bent beside besides between beyond
    binoculars blew blown bookshelf bookshelves both bought braces broke broken brought built bunch
    burned burning burnt businessman businessmen businesswoman businesswomen but by calves came
    caught chased chasing chewing children chopped chosen clothes clutching combed combing
    connecting contain contained containing contains cooked cooking couple crouching cut depicting
    depicts did does doing done down downhill downward dozen dozens drawing drawn driven drove
    during dying each earbuds eaten eight either eleven else embracing equipped etc every everyone
    except exercising eyebrows eyed eyeglasses fallen fed feeding feet fell felt few fireman firemen
    first fisherman fishermen five flew flown folk folks for forming forward found four freckles
    from front frozen furniture garnished gave gazing geese gentleman gentlemen gesturing given
    glasses goes goggles going gone got gotten grabbing grandchildren grazing greeting grilled
    grilling group groups grown had hair haired half halves handed has have having he headphones
    headscarf headscarves held helped helping her here hers herself hidden him himself his hooded
    hooves how huddled hunched hundred hundreds hung hunting hurt if in includes including indoor
    indoors inside instead into ironing is it its itself jeans just kept knelt knitted knives ladies
    lady laid lain launching leading leaves led left legged leggings licking like lit loaves locked
    looked looks lot lots luggage lying made man many marching marked men met mice more most mounted
    much near nearby neither nestled next nine no none not nothing occupied of off on one ones only
    onto opposite or other others our out outdoor outdoors outside over overalls overcast overhead
    overlooking pair pajamas pants parked parking past patrolled patrolling people per persons
    pierced piercing piled plugged police policeman policemen propped protesting put raining ran
    ridden rode saddled said sat saw scarf scarves scissors second seen selfies seven several sewing
    sewn shaken she shelf shelves shirtless shorts shown sideways since six skipping sleeved slept
    sliced slid snowing snowman snowmen soaking some somebody someone something somewhere spread
    still stomach stood strapped strung stuck styled such sunbathing sung sunglasses swam swept
    swung t-shirt t-shirts taken taught tearing teddy-bear teddy-bears tee-shirt teeth ten than that
    the their them themselves then there these they third thirty this those though three threw
    through throughout thrown tied tights to together told too took topless torn tossed toward
    towards trousers twelve twenty two tying under underneath until up uphill upon upside upward us
    various very via waded wading waited waiting was watered watering we went were what when where
    which while who whom whose why wife with within without wives wolves woman women wore worn wound
    woven wrapped written wrote x-ray yet you your zoomed
    """
)

_CLEAR_NOUNS = _set(
    """
    adult aeroplane airplane airport ambulance ankle apartment apron arm armchair athlete baby back
    background backpack balcony ballerina bandana bartender bathroom bathtub bed bedroom belly belt
    bicycle bike biker bikini blanket blazer blouse boat bookcase boy bracelet braid bride
    bridesmaid brother building bun bus cabinet cafe camera canoe cap car cardigan carpet carriage
    cart cartoon catcher ceiling cellphone chair chandelier cheek cheerleader chin classroom clown
    coat collage collar computer controller corridor costume couch counter countertop cowboy crib
    crowd cupboard curtain cushion customer cyclist dad dancer daughter dentist desk dishwasher
    doctor drawer drawing dress dresser driveway ear earring elbow elevator employee entrance eye
    face family father female fence finger firefighter fireplace firetruck fist flip-flop floor
    foreground forehead freezer fridge garage girl glove goalkeeper gown graffiti grandfather
    grandma grandmother grandpa gymnast haircut hairstyle hallway handbag hat headband heel
    helicopter helmet highway hijab hip hoodie hospital hotel husband hydrant illustration image
    infant intersection jacket jeep jersey kayak keyboard kid kitchen knee lamp laptop leg library
    lifeguard lip lipstick lobby lorry makeup male mannequin mask mattress microphone microwave
    mirror mitten mom monitor mother motorbike motorcycle motorcyclist moustache mouth mural museum
    mustache neck necklace necktie nightgown nightstand nose office officer onlooker outfit oven
    painting pajama parade parent participant passenger patio pavement pedestrian performer person
    phone photo photograph photographer picture pigtail pillow pirate plane platform playground
    pocket podium ponytail portrait poster printer projector pupil purse referee refrigerator remote
    restaurant robe roof room rug runner runway sailboat sandal sari scooter screen screenshot
    sculpture seat selfie shawl shirt shoe shoulder shower sidewalk silhouette sink sister
    skateboard skateboarder skater sketch skier skirt skyscraper sleeve slipper smartphone snapshot
    sneaker snowboard snowboarder snowmobile sock sofa soldier speaker spectator stadium stage
    staircase statue stocking stool store stove stroller student studio subway suit suitcase sunhat
    supermarket surfboard surfer suspender sweater sweatpant sweatshirt swimmer swimsuit table
    tablet tattoo taxi teacher team teammate teen teenager telephone television tent theater thigh
    thumb tiara tie toddler toilet tongue tourist tractor trailer tram traveler tricycle tripod
    trolley truck tub tunnel turban turtleneck tuxedo tv umbrella umpire underwear unicycle uniform
    urinal vehicle veil vendor vest wagon waist waiter waitress wall wallet wardrobe warehouse
    webcam wetsuit wheelchair wig window worker wrinkle wrist wristwatch yacht yard
    """
)

_WORDS = _set(
    """
    abstract acoustic adorable aerial african afternoon air alcohol alone american ancient angry
    animated antique art asian asleep asparagus assorted ate attached attractive awake bacon baggage
    bald bank bare barefooted baseball basketball bearded beautiful beef beige berries best big
    bigger biggest birthday black blond blonde blue blueberries blur blurred blurry bokeh bored
    brass bread breakfast brick bright broccoli bronze brown brunch brunette business busy butter
    cabbage calf calm camouflage camping canned caramel cardboard cast casual caucasian cauliflower
    cave celery cement century cereal champagne checked checkered cheerful cheese cherries chess
    chicken child chinese chocolate christmas chubby cinnamon city classic clay clean clear cliff
    close closed closer closest closeup cloth clothing cloudless cloudy coffee cold colored colorful
    colors colour coloured colourful comb comfortable concert concrete confetti construction
    contrast cool copper cordless corn cotton covered cozy cream cricket crispy crooked crowded
    curious curly curved curvy cute cutlery daisies dance dark darker day daylight dead debris
    decker decorative deep denim deserted design detail dice different digital dim dinner dirt dirty
    display dotted double dough downstairs downtown drank dressy drunk dry dual dull dusk dust east
    edge elderly electric electrical electronic elegant empty end entire equipment evening excited
    expression extra fabric facial fake fall famous fancy farm fashion fashionable fast fat festive
    fine fire fish fisheye flare flat floral flour fluffy foam focus fog foggy foliage food foot
    football foreign form formal fought fresh freshly fried frosted frosting fruit fruity full fun
    funny fur furry fuzzy game garbage garlic gate giant glitter glossy gold golden golf good goose
    graduation grand grass grassy gravel gray grayscale great green greenery grey ground grumpy
    grungy hairy halfway halloween ham handheld happily happy hard hay headshot headwear healthy
    heavily heavy height help herbs high higher hilly hockey hold home homemade honey hoof
    horizontal hot hour huge hungry ice icy inch indian jam japanese joyful juice juicy ketchup
    khaki kind kinds knife knit korean lace land landmark large larger largest last late latin
    laughter laundry lazy leaf leafy leather lemonade length lens lettuce level life lighting
    lightning lilies line linen little live living loaf lone lonely long longer look loose loud love
    low lower lunch lush main marble maroon match matching meat medium messy metal metallic mexican
    middle military milk mill mini miniature minute mixed modern modest money monochrome month moon
    morning motion mouse mud muddy multi multicolor multicolored multiple muscular music musical
    mustard naked narrow native natural nature navy neat neon nervous new nice night nighttime noise
    noon north nude nylon odd oil old older olives open orange order orderly ornate oval overcast
    oversized paint pale panoramic paper parsley part party pasta pastel patterned paved peaceful
    pepperoni perched piece pink plaid plaster plastic play plump plush pointy polka polo poor
    popcorn porcelain pork pose position pottery practice pregnant pretty private produce
    professional profile proud public purple quiet race racing rain rainy rang rare raspberries raw
    ready real realistic rear rectangular red reflective rest rice right ripe river roasted romantic
    roses rough round row rows rubber rugby rural rust sad sail salad salmon salt sand santa sauce
    scary scenery scenic scrambled seafood seaside seaweed sepia serious shade shallow shape sharp
    shinny shiny short shorter show shrimp shut shy sideburns silk silly silver silverware similar
    single size skiing skin skinny sky sleepy sleeveless slender slim slow small smaller smoke
    smooth snow snowy soap soapy soccer soda soft softball soil solid sort sorts soup south
    spaghetti spare special sped spilt spinach sport sports spotted spring spun stainless stairs
    state steam steel steep stew stone straight strange straw strawberries string striped stripes
    strong stubble stuff stuffed style stylish stylized sugar sun sunlight sunlit sunrise sunset
    sunshine surf surfing surprised sushi sweet tailed talk tall taller tallest tan tanned tasty tea
    teal tennis thanksgiving thick thin tight tile time tinted tiny tired tissue toast today tofu
    tooth top topped touch town traditional traffic transparent trash trick tropical turn turquoise
    type ugly unmade unusual upper upright upstairs urban use used vacation velvet vertical vintage
    volleyball war warm water wavy wax weather wedding wedged week well wet wheat white whole wicker
    wide wild windy wine winter wire wireless wolf won wood wooden wool woolen work world worried
    wrestling wrong yarn year yellow yoga yogurt young younger youngest
    """
)

_NOUNS = _set(
    """
    accessory alley almond angle animal antenna ape appetizer apple appliance aquarium area array
    artist astronaut audience author avocado awning badge bag bagel bakery ball balloon ballpark
    banana banner bar barber bark barn base basement basin basket bat battery bay beach bead beak
    bear beard beast bee beer bell bench beverage bin bird biscuit bit bite blade blender blind
    bloom blossom board body bone bonfire book booklet boot booth bottle bottom bouquet bow bowl
    bowtie box branch break bridge broom brownie brush bubble bucket buffalo bulb bull bullet bumper
    bunny burger burrito bush butterfly button cabin cable cactus cage cake calendar camel campfire
    can candle candy cane canopy canvas cape card carrot carton case casino castle cat cathedral
    celebration cell center centre ceremony chain chalkboard chef chest chick chimney chip
    choir church cigarette circus class clip clipboard clock cloud club coast coaster coastline
    cocktail coconut coin collection college color competition cone console container control
    convertible cookie cord cork corner course court courtyard cow crack cracker crane crate crayon
    crew croissant cross crosswalk crow crown cruise crust cucumber cup cupcake curb curve darkness
    deck decoration deer desert dessert device dinosaur direction disc dish disk distance dog doll
    dolphin dome donkey donut door doorframe doorway dot doughnut dove dragon dragonfly dressing
    drink driver drop drum drummer duck duckling dumpling dumpster eagle effect egg elder elephant
    engine envelope exit fair fan farmer feather ferry festival field fighter figure file finish
    firework flag flame flamingo flashlight fleet flight flower flute fly folder forest fork
    fountain fox frame friend frisbee frog frown fry gadget gala garden gardener gaze gear giraffe
    glare glass glassware glue goal goat goldfish gorilla grain grape grill grin groom guard guest
    guitar gun guy gym hall hamburger hammer hammock hamster hand handle handlebar handrail harbor
    harp head headlight headphone heart heater hedge hen herd hill hillside hit hole hood hook
    horizon horn horse hose host hotdog house hug human icing ingredient inning insect instrument
    interior island item jar jaw jet judge jump kangaroo kettle key kick kicker kiss kite kitten
    knob koala lab ladder lake lamb landscape lane lantern lawn leash ledge lemon leopard license
    lid light lightbulb lighter lighthouse lime lion lizard location log loop lounge machine
    magazine mall mane mango map marina marker market marketplace mascot mat match meadow meal medal
    melon memorial menu microscope mohawk monk monkey monument moose mop moss mound mountain
    mountainside mousepad movie muffin mug mushroom nail napkin needle nest net newspaper noodle
    notebook number nurse nut oar object ocean onion orange orchard ostrich outlet owl ox package
    packet page paintbrush painter palm pan pancake panda panel park parrot pastry path pathway
    patient pattern paw pea peach peacock peanut pear pedal pencil penguin pepper pet petal piano
    pickle pickup picnic pie pier pig pigeon pile pillar pilot pin pineapple pipe pitch pitcher
    pizza place placemat plain plank plant plate platter player plug plum point pole pond pony pool
    porch port post pot potato pouch premiere pretzel priest pudding puddle pug pumpkin puppet puppy
    push puzzle rabbit rack racket racquet radio rail railing railroad railway rainbow rally rat
    recipe reflection reindeer reporter ribbon ride rider rifle ring rink road roadside roadway
    robot rock rod roll rooftop rooster rope rowboat ruler sack salon sandbox sandwich saucer
    sausage saw scale scene school scientist sea seagull seal section seed set shadow shark shed
    sheep sheet shell shepherd shield ship shop shopfront shopper shore shoreline shot side sight
    sign signal skatepark skeleton ski skyline sled slice slope smile smirk smoothie snack snake
    snout snowball snowflake son space spice spoon spot spray sprinkle square squirrel stable stack
    stall stand star stare station steak stem step stick sticker storm stream street stripe
    structure sunflower surface swan swing switch sword taco tag tail tank teacup teapot temple
    terrace thing throne thumb ticket tiger tire toaster toe tomato tool toothbrush toothpaste
    toothpick topping torch tortilla tortoise tournament towel tower toy track trail train tray
    treat tree trip troop trophy trunk tube tulip turkey turtle utensil vacuum van vase vegetable
    veggie vessel video view village vine violin waffle walk walkway watch waterfall waterfront
    watermelon wave weapon weight whale wheel wheelbarrow whisker whistle windmill windshield wing
    wink witch wizard wrap wrapper wreath zebra zombie zoo zucchini
    """
)

_VERBS = _set(
    """
    accompany add adjust admire aim angle appear apply approach arrange arrive ask attach attend
    avoid balance bathe bike bless block bloom board bounce bow box brush camp carry carve celebrate
    chain chat check cheer chew clap clean climb close collect color compete contain cover crack
    crash crawl create cross crouch crowd cry cuddle curl cycle dance dangle decorate depict design
    dim dine dip display dive drape dress drift drip drop dry edge embrace enclose enjoy enter
    entertain examine exit face feature fence fill film fish fix flip float focus fold follow frame
    frown fry furnish gather gaze gesture glance glare glow grab graze greet grin grip groom guard
    hammer handle happen hike hop host hover hug ice include interact jog join juggle jump kayak
    kick kiss knock lace land laugh lean lick lift light line listen load locate look lounge love
    match meditate melt mirror mix mount move mow nap observe offer open order overlook pack paint
    pass peek peel peer perch perform pet pick picture pile pin pitch place plant play plow point
    pose pour practice prepare present press pretend print produce pucker pull pump punch push race
    raise reach receive recline reflect relax release remain repair rest roam roast roll row rub
    sail salute scatter score scratch scream seat serve shade share shave shelter shop shout shower
    sign silhouette sip skate skateboard sketch ski sled slice slope smile smirk smoke snack sniff
    snow snowboard snuggle soar spill splash spot sprawl spray sprinkle sprint squat squeeze stack
    stare start steam steer step stir stop store stripe stroll strum stuff suck surf surround
    suspend sway switch talk taste text tile tilt tip toast top toss touch tow trail train travel
    trim trot try tuck tug turn twist type unpack use vacuum view visit wag walk wander wash watch
    wave weld wheel whisper whistle wink work wrap wrestle yawn
    """
)

_STRONG_VERBS = _set(
    """
    bat bend bite blow break bring build buy catch choose come cut drink drive eat feed feel find
    fly freeze get give grow hang have hide hit hold keep kneel lay leap leave let lie lose make
    meet pay put read ride rise run say see sell send set shake shine shoot sing sit sleep slide
    speak spin spread stand stick strike sweep swim swing take teach tell think throw wear win write
    """
)
"""Their past is among the words above."""

_BASES = _VERBS | _STRONG_VERBS
_ALL_NOUNS = _NOUNS | frozenset(_with_s(word) for word in _NOUNS)
_FORMS = (
    frozenset(_with_s(word) for word in _BASES)
    | frozenset(_with_ed(word) for word in _VERBS)
    | frozenset(_with_ing(word) for word in _BASES)
)

CLEAR = (
    _CLEAR_WORDS
    | _CLEAR_NOUNS
    | frozenset(_with_s(word) for word in _CLEAR_NOUNS)
    | (_FORMS - _ALL_NOUNS - _WORDS)
)
"""Words that end a name that was dropped: they are hardly ever a surname."""

USUAL = CLEAR | _WORDS | _ALL_NOUNS | _BASES | ROLES | frozenset(map(_with_s, ROLES))
"""All words that a caption may keep. Those that are not in `CLEAR` ("brown", "stone", "fox") go if
they follow a word that was dropped, as they may be the surname to it."""
