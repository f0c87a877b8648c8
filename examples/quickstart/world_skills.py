"""Prompts about the world and its words: facts, categories, simple grammar and vocabulary."""

from __future__ import annotations

import random

from prompt_record import Prompt, choice_prompt

ONE_WORD = ("Answer with one word.", "Reply with the answer only.", "Give only the answer, no sentence.")

OPEN_FACTS: tuple[tuple[str, str], ...] = (
    ("What is the capital of Japan?", "Tokyo"),
    ("What is the capital of Kenya?", "Nairobi"),
    ("What is the capital of Canada?", "Ottawa"),
    ("What is the capital of Portugal?", "Lisbon"),
    ("What is the capital of Australia?", "Canberra"),
    ("What is the capital of Peru?", "Lima"),
    ("What is the capital of Norway?", "Oslo"),
    ("What is the capital of Spain?", "Madrid"),
    ("What is the capital of Egypt?", "Cairo"),
    ("What is the capital of Sweden?", "Stockholm"),
    ("What is the capital of China?", "Beijing"),
    ("What is the capital of Argentina?", "Buenos Aires"),
    ("Which planet is called the red planet?", "Mars"),
    ("Which insect makes honey?", "bee"),
    ("In which country are the pyramids of Giza?", "Egypt"),
    ("Which star is the nearest to the Earth?", "Sun"),
    ("How many days does a leap year have?", "366"),
    ("What is the chemical symbol of oxygen?", "O"),
    ("Which colour do blue and yellow paint make together?", "green"),
    ("Which metal has the chemical symbol Fe?", "iron"),
    ("What is the chemical symbol of gold?", "Au"),
    ("What is the chemical symbol of sodium?", "Na"),
    ("What is the chemical symbol of silver?", "Ag"),
    ("Which planet is the largest of the solar system?", "Jupiter"),
    ("Which planet is the closest to the Sun?", "Mercury"),
    ("Which land animal has the longest neck?", "giraffe"),
    ("In which year did the Second World War end?", "1945"),
    ("In which year did people first walk on the Moon?", "1969"),
    ("How many legs does a spider have?", "8"),
    ("How many sides does a hexagon have?", "6"),
    ("Which gas do plants take from the air for photosynthesis? Use its chemical formula.", "CO2"),
    ("Which country has a red maple leaf on its flag?", "Canada"),
    ("In which city does the Colosseum stand?", "Rome"),
    ("Which organ pumps blood through the body?", "heart"),
    ("At how many degrees Celsius does water boil at sea level?", "100"),
    ("Which language is the most spoken in Brazil?", "Portuguese"),
)

CHOICE_FACTS: tuple[tuple[str, str, tuple[str, str, str]], ...] = (
    ("Which city is the capital of Turkey?", "Ankara", ("Istanbul", "Izmir", "Antalya")),
    ("Which city is the capital of Brazil?", "Brasilia", ("Rio de Janeiro", "Sao Paulo", "Salvador")),
    ("Which country has Budapest as its capital?", "Hungary", ("Romania", "Bulgaria", "Austria")),
    ("Which of these elements is a noble gas?", "neon", ("oxygen", "nitrogen", "chlorine")),
    ("Which element has the atomic number 1?", "hydrogen", ("helium", "oxygen", "carbon")),
    ("Which particle has a negative charge?", "electron", ("proton", "neutron", "photon")),
    ("Which of these happened first?", "the French Revolution",
     ("the First World War", "the Cold War", "the Moon landing")),
    ("Which of these was invented last?", "smartphone", ("telephone", "printing press", "steam engine")),
    ("Which river flows through Egypt?", "the Nile", ("the Amazon", "the Danube", "the Mekong")),
    ("Which mountain is the highest above sea level?", "Everest", ("Kilimanjaro", "Mont Blanc", "Denali")),
    ("Which continent holds the Sahara?", "Africa", ("Asia", "South America", "Australia")),
    ("What is the hardest natural mineral?", "diamond", ("quartz", "gypsum", "talc")),
    ("Which vitamin does skin make in sunlight?", "vitamin D", ("vitamin A", "vitamin C", "vitamin K")),
    ("Which part of a cell holds most of its DNA?", "the nucleus", ("the membrane", "the ribosome", "the cytoplasm")),
    ("What does a thermometer measure?", "temperature", ("pressure", "humidity", "speed")),
    ("Which unit measures electrical resistance?", "ohm", ("volt", "watt", "joule")),
    ("Which of these animals is a mammal?", "dolphin", ("shark", "tuna", "octopus")),
    ("Who is known for the theory of relativity?", "Einstein", ("Darwin", "Mozart", "Galileo")),
    ("Who is known for the theory of evolution by natural selection?", "Darwin", ("Newton", "Pasteur", "Edison")),
    ("Which instrument has 88 keys?", "piano", ("violin", "flute", "trumpet")),
    ("Which currency is used in Japan?", "yen", ("won", "yuan", "baht")),
    ("Which planet is known for its wide rings?", "Saturn", ("Venus", "Mars", "Mercury")),
    ("Which blood cells carry oxygen?", "red blood cells", ("white blood cells", "platelets", "nerve cells")),
    ("How many minutes does sunlight need to reach the Earth, roughly?", "8", ("1", "60", "600")),
)  # fmt: skip

KINDS: dict[str, str] = {
    "fruit": "apple pear plum cherry mango grape",
    "bird": "sparrow eagle pigeon owl penguin swallow",
    "fish": "salmon trout cod herring carp sardine",
    "insect": "ant beetle moth mosquito wasp cricket",
    "reptile": "lizard crocodile tortoise cobra gecko iguana",
    "stringed instrument": "violin cello guitar harp banjo viola",
    "wind instrument": "flute trumpet clarinet oboe trombone saxophone",
    "tool": "hammer saw screwdriver wrench chisel drill",
    "tree": "oak birch maple willow pine spruce",
    "vehicle": "bicycle lorry tram ferry motorcycle helicopter",
    "piece of furniture": "table sofa wardrobe bed desk chair",
}

# (instruction with the word in it, answer)
LANGUAGE: tuple[tuple[str, str], ...] = (
    ("What is the plural of 'child'?", "children"),
    ("What is the plural of 'mouse' (the animal)?", "mice"),
    ("What is the plural of 'knife'?", "knives"),
    ("What is the plural of 'city'?", "cities"),
    ("What is the plural of 'goose'?", "geese"),
    ("What is the plural of 'box'?", "boxes"),
    ("What is the plural of 'tooth'?", "teeth"),
    ("What is the plural of 'dog'?", "dogs"),
    ("What is the simple past tense of 'go'?", "went"),
    ("What is the simple past tense of 'buy'?", "bought"),
    ("What is the simple past tense of 'swim'?", "swam"),
    ("What is the simple past tense of 'teach'?", "taught"),
    ("What is the simple past tense of 'play'?", "played"),
    ("What is the simple past tense of 'walk'?", "walked"),
    ("What is the past participle of 'write'?", "written"),
    ("What is the past participle of 'choose'?", "chosen"),
    ("What is the opposite of 'hot'?", "cold"),
    ("What is the opposite of 'empty'?", "full"),
    ("What is the opposite of 'deep'?", "shallow"),
    ("What is the opposite of 'minimum'?", "maximum"),
    ("What is the opposite of 'entrance'?", "exit"),
    ("What is the opposite of 'import'?", "export"),
    ("What is the comparative form of 'good'?", "better"),
    ("What is the comparative form of 'heavy'?", "heavier"),
    ("What is the superlative form of 'bad'?", "worst"),
    ("Translate the Spanish word 'perro' into English.", "dog"),
    ("Translate the Spanish word 'libro' into English.", "book"),
    ("Translate the French word 'maison' into English.", "house"),
    ("Translate the French word 'fromage' into English.", "cheese"),
    ("Translate the German word 'Wasser' into English.", "water"),
    ("Translate the Spanish word 'agua' into English.", "water"),
    ("Translate the English word 'cat' into Spanish, without an article.", "gato"),
    ("Translate the English word 'bread' into French, without an article.", "pain"),
    ("Translate the English word 'water' into Spanish, without an article.", "agua"),
    ("Translate the English word 'red' into Italian.", "rosso"),
    ("Which word is the verb in the sentence 'The old dog sleeps quietly'?", "sleeps"),
    ("Which word is the adjective in the sentence 'She wore a green coat'?", "green"),
    ("Which word is the pronoun in the sentence 'They left before dawn'?", "They"),
    ("Which word is misspelt: 'the seperate rooms were clean'?", "seperate"),
    ("Which article fits: '... hour ago', a or an?", "an"),
)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def facts(rng: random.Random, count: int) -> list[Prompt]:
    """Widely known facts, open or multiple choice; ``count`` at most, one group each."""
    made = []
    for i, (question, answer) in enumerate(OPEN_FACTS):
        made.append(Prompt(f"{question} {rng.choice(ONE_WORD)}", answer, "fact", f"fact-open-{i}"))
    for i, (question, right, wrong) in enumerate(CHOICE_FACTS):
        text, letter = choice_prompt(rng, question, right, wrong)
        made.append(Prompt(text, letter, "fact", f"fact-choice-{i}"))
    return made[:count]


def odd_one_out(rng: random.Random, count: int) -> list[Prompt]:
    """Which of four words is of another kind, or of a named kind; or of which of two kinds a word is."""
    made = []
    kinds = {kind: words.split() for kind, words in KINDS.items()}
    for i in range(count):
        kind, other = rng.sample(sorted(kinds), 2)
        word = rng.choice(kinds[kind])
        words = [*rng.sample(kinds[other], 3), word]
        rng.shuffle(words)
        shown = ", ".join(words)
        one, two = rng.sample((kind, other), 2)
        question, answer = (
            (f"Which word does not belong with the others: {shown}?", word),
            (f"Is {_with_article(word)} {_with_article(one)} or {_with_article(two)}?", kind),
            (f"Which of these is {_with_article(kind)}: {shown}?", word),
            (f"What kind of thing is {_with_article(word)}: {_with_article(one)} or {_with_article(two)}?", kind),
        )[i % 4]
        made.append(Prompt(f"{question} {rng.choice(ONE_WORD)}", answer, "odd_one_out", f"odd-{i}"))
    return made


def language(rng: random.Random, count: int) -> list[Prompt]:
    """Plurals, tenses, opposites, comparison, single-word translations and parts of speech; one group each."""
    made = []
    for i, (question, answer) in enumerate(LANGUAGE):
        ending = rng.choice(("Answer with one word.", "Reply with the word only.", "Give only that word."))
        made.append(Prompt(f"{question} {ending}", answer, "language", f"lang-{i}"))
    return made[:count]
