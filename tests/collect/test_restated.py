"""A yes/no answer in the question's own words: affirmed, denied, or another claim, which decides nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router.collect.matching.claims import read_claim
from auto_router.collect.matching.verdict import match

BOX = "Would a swan fit in a shoebox?"
FLAT = "Is the earth flat?"
BIGGER = "Is Jupiter bigger than Mars?"
COIN = 'A coin is heads up. Ann flips the coin. Is the coin still heads up? Note that "flip" here means "reverse".'
SAYS_YES = [
    (BOX, "A swan is small. Therefore, a swan would fit in a shoebox."),
    (BOX, "So, yes, the swan would easily... I mean: a swan would fit in the shoebox."),
    (BOX, "Swans fold their wings, so it would fit in a shoebox."),
    (BOX, "It is likely that a swan would fit in a shoebox."),
    ("Could a swan fit in a shoebox?", "It is possible for a swan to fit in a shoebox."),
    (BIGGER, "Mars is small. Jupiter is bigger than Mars."),
    (BIGGER, "Jupiter is bigger."),
    ("Did Mary Shelley write Frankenstein?", "Shelley wrote Frankenstein."),
    ("Is 17 a prime number?", "Since it has no divisors, 17 is a prime number."),
    ("If it rains, will the street be wet?", "If it rains, the street will be wet."),
    ("Context: birds sing.\nQuestion: Do birds sing?", "Birds do sing."),
    (COIN, "Ann flips the coin, so the coin is now tails up. Bob flips it. So the coin is heads up again."),
]
SAYS_YES += [
    ("Would a stone sink in water?", "A stone is denser than water, so it will sink in water."),
    ("Was Bob unable to come to the party?", "Bob could not come to the party."),
    ("Is Bob unlikely to win the race?", "It is unlikely that Bob would win the race."),
    ("Did Ada swim?", "Ada swam in 1934."),
    ("Did Ada win a prize?", "Ada won a prize in Rome."),
    ("Was Ada born in Rome?", "Ada was born in Rome in 1934."),
    ("Is it legal to smoke in Ohio?", "It would be legal to smoke in Ohio."),
    ("Did the first president own slaves?", "The first president was Washington. Washington owned slaves."),
    ("Did Ann eat the cake?", "So yes, Ann probably ate the cake."),
    ("Did Ann depend on Bob?", "Yes, Ann depended on Bob."),
    ("Is Acme Inc. a Dutch company?", "Acme Inc. is a Dutch company."),
    ("Is Io (the moon) round?", "Io is round."),
    ("Is the claim wrong?", "The claim is wrong."),
]
SAYS_NO = [
    (BOX, "A swan would fit in a shoebox? No."),
    (BOX, "A swan is large. Therefore, a swan would not fit in a shoebox."),
    (BOX, "The swan wouldn't fit in the shoebox, as its neck is too long."),
    (BOX, "It is highly unlikely that a swan would fit in a shoebox."),
    (BOX, "It is impossible for a swan to fit in a shoebox."),
    (BOX, "We can conclude that no swan would fit in a shoebox."),
    (
        "Did the RAF fight in the Boxer Rebellion?",
        "It was founded in 1918, so it could not have fought in the Boxer Rebellion.",
    ),
    (BIGGER, "Mars is bigger than Jupiter."),
    (BIGGER, "Jupiter is smaller than Mars."),
    (BIGGER, "Mars is bigger."),
    ("Are there lions in Norway?", "There are no lions in Norway."),
    ("Do all birds fly?", "Not all birds fly."),
    (FLAT, "Hence it's false that the earth is flat."),
    (FLAT, "There is no evidence that the earth is flat."),
    (COIN, "Ann flips the coin. The coin is now tails up."),
    (COIN, "Ann flips the coin. So the coin is not heads up anymore."),
    ("Would a pear sink in water?", "Pears are light. Thus, a pear would not sink."),
    ("Is it still raining?", "It is no longer raining."),
    ("Did Ann never smoke?", "Ann smoked."),
    ("Is the museum open on Monday?", "The museum is not open."),
    ("Did Ada celebrate in Rome with Ben?", "So they did not celebrate."),
    ("Does Ann like tea with milk?", "Ann does not like tea."),
    ("Are there multiple moons of Mars?", "There is only one moon of Mars."),
    ("Is there evidence of life on Mars?", "There is no evidence of life on Mars."),
    ("Is there life on Mars?", "There is no sign of life on Mars."),
    ("Did the first president own slaves?", "The first president was Washington. Washington did not own slaves."),
    ("Would Ann support the Smith v. Jones decision?", "It is unlikely that Ann would support the Smith v. Jones decision."),
    ("Could someone in a coma talk?", "A person in a coma cannot talk."),
]
SAYS_NEITHER = [
    (BOX, "A swan could fit in a shoebox."),
    (BOX, "A swan would fit in a shoebox if it were folded."),
    (BOX, "With a bigger box, a swan would fit in a shoebox."),
    (BOX, "A swan would fit in a shoebox, but only its head."),
    (BOX, "Therefore, a swan would fit in a shoebox, but I am not sure."),
    (BOX, "Would a swan fit in a shoebox?"),
    (BOX, "A cygnet would fit in a shoebox."),
    (BOX, "A swan would fit in a large shoebox."),
    (BIGGER, "Jupiter is not smaller than Mars."),
    ("Did John swim?", "John could swim."),
    ("Did John swim?", "It is possible that John swam."),
    ("Do birds fly?", "Not all birds fly."),
    ("Do birds fly?", "Some birds fly."),
    ("Did the cat chase the dog?", "The dog chased the cat."),
    ("Are apples fruits?", "Carrots are vegetables, so they are not fruits."),
    ("Is John in?", "John."),
    (FLAT, "One might think that the earth is flat."),
    (FLAT, "According to some, the earth is flat."),
    (FLAT, "It is a myth that the earth is flat."),
    ("Isn't water wet?", "Water is wet."),
    ("Is Paris in France or in Spain?", "Paris is in France."),
    ("Is water wet? Is fire hot?", "Water is wet."),
    ("What is the capital of France?", "The capital is not Rome."),
    (COIN, "Therefore, the answer is yes, the coin is still tails up."),
    ("Is the train late?", "The train is not late yet."),
    ("Is -3 greater than 3?", "3 is greater than 3."),
    (BOX, "The claim that a swan would fit in a shoebox is popular."),
    (BOX, "Unless folded, a swan would not fit in a shoebox."),
    (BOX, "It is not true that a swan would not fit in a shoebox."),
    (BOX, "A swan would fit in a shoebox. Just kidding, sorry, no way."),
    # Less, or more, than the claim.
    ("Is Pluto a large planet?", "Pluto is a planet."),
    ("Is Pluto a dwarf planet?", "Pluto is not a planet."),
    ("Did Ann fail to win?", "So she did not win."),
    ("Did he fail to win?", "So he did not win."),
    ("Did Lincoln's son own a car?", "Lincoln did not own a car."),
    ("Did Lincoln own a car?", "Lincoln owned a car in a novel."),
    ("Would a pear sink in water?", "A pear would not sink in salt water."),
    ("Is the museum open on Monday?", "The museum is open."),
    ("Is the museum open?", "The museum is open on Sundays."),
    ("Is it legal to smoke in Ohio?", "It is legal to smoke in Ohio with a permit."),
    ("Was the bridge built by Romans?", "So the bridge was built."),
    ("Was Rome built in a day?", "Rome was built."),
    ("Does it rain in Egypt?", "It does not rain in Egypt in June."),
    ("Can dogs eat grapes without harm?", "Dogs cannot eat grapes."),
    ("Did the second president own slaves?", "The first president was Washington. Washington owned slaves."),
    ("Is there life on Mars?", "There is no proof of life on Mars, but it is likely."),
    ("Is there life on Mars?", "There is no evidence that there is no life on Mars."),
    ("Is the claim false?", "The claim is not false."),
    ("Is the claim untrue?", "It is untrue."),
    # A lack of proof is no denial, least of all of what could be.
    ("Is there life on Mars?", "There is no proof of life on Mars."),
    ("Do aliens exist?", "There is no conclusive evidence that aliens exist."),
    ("Could Shakespeare have seen Italy?", "There is no evidence that Shakespeare saw Italy."),
    # Who affirms less affirms nothing.
    ("Would a stone sink in water?", "A stone is denser than water, so it will sink."),
    ("Did Ada break the record in May?", "So she broke the record."),
    ("Did Bob drop the vase on purpose?", "So Bob dropped the vase."),
    # Nor does each denial of less deny the whole.
    ("Was Obama the first African American president?", "Obama was not the first president."),
    ("Did Steve Jobs invent the first personal computer?", "Steve Jobs did not invent the computer."),
    ("Did Bob try to kill Ann?", "Bob did not kill Ann."),
    ("Did Bob want to buy the old house?", "Bob did not buy the old house."),
    ("Did Bob deny stealing the car?", "Bob did not steal the car."),
    ("Did Ann know that Bob was married?", "Ann did not know Bob."),
    ("Is it too cold to swim in the lake?", "You cannot swim in the lake."),
    ("Is Bob a vice president?", "Bob is not a president."),
    ("Is Pluto a large planet?", "Pluto is not a planet."),
    ("Is the golden eagle considered a scavenger bird?", "A golden eagle is not a scavenger."),
    ("Do some mammals lay eggs?", "Some mammals do not lay eggs."),
    ("Was Bob unable to come to the party?", "Bob did not come to the party."),
    ("Is Bob unlikely to win the race?", "Bob did not win the race."),
    ("Did Lincoln own slaves?", "Lincoln no longer owned slaves."),
    ("Would a vegan eat eggs?", "No one but a vegan would eat eggs."),
    # Somebody else is meant.
    ("Was Lincoln president before Grant?", "Washington was president. He was president before Grant."),
]
# Who agrees with what a question denies says neither yes nor no.
AGREES = [("Don't cats bark?", "Right, cats don't bark."), ("Aren't whales fish?", "Exactly, whales are not fish.")]
SAYS_NEITHER += AGREES


@pytest.mark.parametrize(("question", "answer"), SAYS_YES)
def test_an_answer_affirms_the_claim(question: str, answer: str) -> None:
    assert [match(answer, reference, (), question) for reference in ("yes", "No", "true")] == [True, False, True]


@pytest.mark.parametrize(("question", "answer"), SAYS_NO)
def test_an_answer_denies_the_claim(question: str, answer: str) -> None:
    assert [match(answer, reference, (), question) for reference in ("yes", "No", "false")] == [False, True, True]


@pytest.mark.parametrize(("question", "answer"), SAYS_NEITHER)
def test_another_claim_decides_nothing(question: str, answer: str) -> None:
    assert [match(answer, reference, (), question) for reference in ("yes", "no")] == [None, None]


def test_only_yes_no_references_are_read_this_way() -> None:
    assert match("A swan would not fit in a shoebox.", "a swan", (), BOX) is None
    assert match("A swan would not fit in a shoebox.", "no") is None


@settings(max_examples=30)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_question_and_answer_are_read(question: str, answer: str) -> None:
    read_claim(question + "?")
    assert match(answer, "yes", (), f"Is {question}?") in (True, False, None)


def test_a_date_that_is_none_of_the_options_is_wrong() -> None:
    dates = ("07/21/2002", "07/20/2002", "10/21/2002")
    assert match("Today is July 28. One week ago would be July 22, 2002.", "A", dates) is False
    assert match("Today is July 28. One week ago would be July 21, 2002.", "A", dates) is True
    assert match("Today is July 28. One week ago would be July 21.", "A", dates) is not False
    assert match("The answer is 2.", "A", ("10", "20", "30")) is None  # the second option, or two
