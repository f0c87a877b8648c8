"""Numbers of prose read by what the question asks for."""

from __future__ import annotations

import pytest

from auto_router.collect.matching.asked_number import repeats_condition
from auto_router.collect.matching.verdict import match

PENS = "How many pens has he?"
EGGS = "How many eggs does she need?"
GIVES = "Ann has 12 pens and gives 4 away. How many pens does Ann have left?"
MORE = "Ann has 12 pens, Bob 4. How many more pens does Ann have than Bob?"
WAGE = "How much does he earn if he works 5 days?"
ANN = "Ann has 12 apples. Therefore Bob has 24 apples."


@pytest.mark.parametrize(
    ("question", "reference", "answer", "right"),
    [
        # The one number that counts what is asked for is the answer, whatever stands beside it.
        (PENS, "7", "He buys some more. So he has 7 pens and 8 pencils.", True),
        ("How many liters are in the boat?", "16", "It went 80 feet. Over 80 feet it took on 16 liters of water.", True),
        ("How many pens and pencils has he?", "7", "He buys some more. So he has 7 pens and 8 pencils.", None),
        ("How many liters are in the boat?", "16", "It went far. Over 80 feet it did not take on 16 liters.", None),
        # A reference that occurs on the way is a judge's to weigh.
        ("How many apples are eaten of the 20?", "12", "She ate 12 of 20, so 12 are gone. Therefore, 8 apples are left.", None),
        # But a conclusion in the question's words alone is the answer.
        ("How many apples are left of the 20?", "12", "She ate 12 of 20, so 12 are gone. Therefore, 8 apples are left.", False),
        ("How much does a bar cost?", "12", "All cost $12. That means a bar costs $3.", False),
        ("How much does a bar cost, and a box of 3 bars?", "12", "A box costs $12. That means a bar costs $3.", None),
        ("How many bars of the 8 has she?", "12", "She had 12 bars. So she has 8 bars.", None),
        ("How many apples are left?", "12", "12 apples are left. So she gave away 8 apples.", None),
        ("How many apples does Ann have?", "12", "Ann has 12 apples. So Bob has 7 apples.", None),
        ("How much money does Ann have left?", "12", "Ann has $12 left. Therefore Ann spent $8 of her money.", None),
        ("How many bags did she find next?", "2", "She found 2 bags next. So in total she has 8 bags, to find next.", None),
        # Who ends with a step has not answered.
        (EGGS, "12", "First, we need to find out how many eggs she has.", False),
        (EGGS, "12", "She has 5 eggs. To do this, we multiply the eggs by the days in a week.", False),
        (EGGS, "12", "The answer is a dozen. Now, let's check it.", True),
        (EGGS, "12", "Therefore she needs a dozen. Now, let's check it.", None),
        (EGGS, "12", "There are 12 of them. Now, let's check it.", None),
        # Other numbers, of which the reference does not follow.
        (PENS, "31", "He had 4 boxes. So he has 3 boxes of pens and 5 boxes of pencils.", False),
        (PENS, "8", "He had 4 boxes. So he has 3 boxes of pens and 5 boxes of pencils.", None),
        (PENS, "7", "He had 20 boxes. So half of the 20 and 6 more are pens.", None),
        # What a sentence leaves to its reader.
        ("What is the chance?", "1/2", "There are 6 sides. So 3 sides of 6 are even.", None),
        ("How many chairs are there?", "6", "They stand in rows. So there are 2 rows with 3 in each.", None),
        # What a sentence gives in words, beside the number of something else.
        ("How many days do the 3 steps take?", "7", "It takes a week for all 3 steps.", None),
        ("How many hours does it take?", "24", "The answer is a day for all 3 coats.", None),
        ("How many eggs?", "12", "She needs a dozen for the 2 cakes.", None),
        ("How many hours?", "0.5", "It takes half an hour for 3 steps.", None),
        ("How many hours?", "48", "It takes 40 hours for all 3 steps.", False),
        ("How many eggs?", "13", "1 dozen", False),
        # The same in another unit, of more than what is asked for, or of somebody else.
        ("How many minutes does she need?", "90", "She needs 90 minutes. So she needs 1.5 hours.", None),
        ("How many legs does a rabbit have?", "4", "A rabbit has 4 legs. So 3 rabbits have 12 legs.", None),
        ("How much does he earn per week?", "500", "He earns $500 per week. So he earns $2000.", None),
        ("Bob has twice as many apples as Ann. How many apples does Ann have?", "12", ANN, None),
        ("How much does he pay in euros?", "€40", "He pays €40. So he pays $44.", None),
        ("He pays with $100. How much does he get back?", "30", "He gets $30 back. So he pays $70.", None),
        ("How many eggs does she have?", "5", "She had 5 eggs. So she has 9 eggs.", False),
        ("How much does he pay?", "10", "The fee is $10. So he pays $25.", False),
        # A last sentence that repeats what is asked gives the answer, wherever the reference stands before it.
        (GIVES, "8", "Ann has 12 - 4 = 8. So Ann has 9 pens left.", False),
        (GIVES, "8", "She gives 4 of 12. If Ann gives 4 away, Ann has 8 pens left.", True),
        (GIVES, "8", "Ann has 8 pens left. So Ann has 9 pens left.", None),
        (GIVES, "8", "12 - 4 = 8. Therefore Ann gave away 4 pens.", None),
        (GIVES, "8", "12 - 4 = 8. So Ann has at least 9 pens left.", None),
        (MORE, "8", "Is it 8? Ann has 9 more pens than Bob.", False),
        (MORE, "8", "8 more? Ann has 12 pens, which is more than Bob has.", None),
        ("What is the sum of 3 and 4?", "7", "3 + 4 = 7. The sum of 3 and 4 is 8.", False),
        ("How many did he not wash?", "5", "He washed 7 of 12. Therefore, he did not wash 5.", True),
        ("How many eggs did she not eat?", "5", "She ate 5 eggs.", None),
        ("How many pairs of shoes has she?", "20", "So she has 40 shoes.", None),
        ("How long does the trip take? It is 90 minutes and 30 more.", "120", "It is 120. The trip takes 2 hours.", None),
        # What only repeats the question gives no answer.
        ("Ann ate 5 of 8 nuts. How many nuts are left?", "5", "Ann ate 5 of 8 nuts. So 3 nuts are left over.", False),
        ("Ann has 12 pens. Bob has 4 pens. How many pens does Bob have?", "4", "Bob has 4 pens. Ann has 12 pens.", None),
        (EGGS, "12", "She has 5 eggs. So if she has 7 bowls, we can multiply 5 by the bowls.", False),
        # The other way round, or in another unit than is asked for.
        (MORE, "8", "Bob has 8 more pens than Ann.", None),
        (MORE, "8", "Ann has 8 fewer pens than Bob.", None),
        ("How much older is Ann than Bob?", "4", "Bob is 4 years older than Ann.", None),
        ("How many pounds did she lose?", "7", "7 weeks", None),
        ("How many pounds did he pay?", "7", "£7", True),
        ("How many pounds did he pay?", "7", "$7", None),
        ("How far is it in kilometers?", "5", "5 miles", None),
        ("How far is it in kilometers?", "5", "It is 5 km.", True),
        ("How many hours did it take?", "2", "It took 2 days.", None),
        ("How many cents is an egg?", "50", "$50", None),
        ("How many square meters has the room?", "20", "20 m", None),
        # Numbers of other bases.
        (PENS, "10", "He has 0xA pens.", None),
    ],
)
def test_the_question_tells_which_number_counts(question: str, reference: str, answer: str, right: bool | None) -> None:
    assert match(answer, reference, (), question) is right


def test_a_condition_of_the_question_is_no_doubt() -> None:
    assert repeats_condition("$250 if he works 5 days", WAGE)
    assert match("So he earns #### 250 if he works 5 days.", "250", (), WAGE) is True
    assert match("So he earns #### 250 if he works 6 days.", "250", (), WAGE) is None
    assert not any(
        repeats_condition(text, WAGE)
        for text in ("$250", "$250 only if he works 5 days", "$250 if he does not work 5 days", "$250 unless he works 5 days")
    )
    assert not repeats_condition("$250 if he works 5 days", "")
