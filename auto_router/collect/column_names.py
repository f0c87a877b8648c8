"""What columns of data sets are called, by the role that they play; and known data sets, by their columns."""

from __future__ import annotations

# Of classes, the name beside the number, which alone of them is no answer.
CLASS_NAMES = ("label_text", "label_name", "label_str", "label_string", "text_label", "class_name", "category_name")
COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "instruction", "problem", "query"),
    "answer": ("answer", "answers", "response", "label", "target", "output", "solution"),
    "images": ("images", "image"),
    "source": ("source", "task", "category", "subject"),
    "group": ("group",),
    "messages": ("messages", "conversations", "conversation", "texts"),
    "choices": ("choices", "options", "endings", "answer_choices", "answer_options", "candidates", "alternatives"),
    "context": (
        *("context", "passage", "article", "paragraph", "story", "background", "premise", "evidence", "body", "hint"),
        *("contexts", "retrieved_contexts", "passages", "documents", "flores_passage", "sentence"),
        *("narrative", "scenario", "puzzle", "definition"),
    ),
    "history": ("history", "chat_history", "conversation_history", "dialogue_history"),
    "system": ("system_prompt", "system", "system_message", "system_instruction", "system_instructions"),
    "input": ("input",),
}
# Looked for where none of the above is there.
LATER: dict[str, tuple[str, ...]] = {
    "prompt": (
        *("question_text", "question_stem", "stem", "hypothesis", "claim", "statement", "goal", "ctx", "sentence"),
        *("turns", "task", "input", "inputs", "text", "user", "user_input", "q", "request", "content"),
        *("user_prompt", "user_message", "user_query", "prompt_text", "input_text", "inputs_pretokenized", "question_content"),
        "utterance",
    ),
    "answer": (
        *("answer_key", "correct_answer", "correct", "right_answer", "correct_option", "correct_choice", "answer_idx"),
        *("answer_index", "answer_id", "answer_letter", "correct_answer_id", "correct_answer_idx", "correct_answer_index"),
        *("correct_index", "correct_idx", "correct_id", "correct_letter", "correct_label", "correct_answers", "gold"),
        *("correct_option_index", "correct_choice_index", "correct_option_id", "correct_option_idx", "correct_choice_idx"),
        *("correct_choice_id", "correct_answer_num", "correct_answer_number", "correct_option_number", "cop"),
        *("gold_answer", "gold_answers", "gold_label"),
        *("numerical_answer", "gold_index", "ground_truth", "ground_truths", "reference", "references", "reference_answer"),
        "expected",
        *("expected_answer", "expected_output", "ideal", "ideal_answer", "final_answer", "best_answer", "labels", "targets"),
        *("multiple_choice_answer", "possible_answers", "answers_spans", "answer_text", "answer_aliases", "aliases"),
        *("short_answer", "short_answers", "answer_number", "completion", "outputs", "solutions", "responses", "class"),
        *("final_decision", "sentiment", "a", "y", "correct_response", "gold_response", "target_text", "output_text"),
        *("targets_pretokenized", "assistant", "assistant_response", "reply", *CLASS_NAMES),
        *("answer_choice", "answer_option", "ans", "expected_response", "gt_answer", "ground_truth_answer", "intent", "sql"),
    ),
    "images": (
        *("img", "picture", "pictures", "photo", "decoded_image", "image_bytes", "image_base64", "image_path", "image_paths"),
        *("image_file", "image_url", "image_urls", "img_path", "img_url", "page_image", "page_images", "screenshot"),
    ),
    "choices": (
        *("choice", "option", "mc1_targets", "target_scores", "multiple_choice_options", "choices_text", "mcq_options"),
        "option_list",
    ),
}
# Beside these, an "answer" is a model's, as in the logs of RAG evaluations, or the way to the final one.
TRUTHS = (
    "ground_truth", "ground_truths", "reference_answer", "gold_answer", "gold_answers", "expected_output",
    "expected_answer", "final_answer", "answer_number", "numerical_answer", "short_answer",
)  # fmt: skip
# Further right answers beside the "answer", as TriviaQA's relatives have them.
MORE_ANSWERS = ("answer_aliases", "aliases", "answers_aliases", "alternative_answers", "acceptable_answers")
VERDICTS = ("label", "iscorrect", "correct")  # beside an "answer", of which they say whether it is right
# In these, a text that prints a list holds several right answers.
PLURAL = (
    "answers", "references", "targets", "labels", "aliases", "spans", "ground_truths", "outputs", "solutions",
    "responses", "possible_answers",
)  # fmt: skip
# Data sets that people know, by the columns that tell them: what a row is read as is said by such a name.
RECIPES: dict[str, tuple[str, ...]] = {
    "ScienceQA": ("question", "choices", "answer", "hint", "image"),
    "MMBench": ("question", "A", "B", "answer", "image"),
    "MMLU-Pro": ("question", "options", "answer", "answer_index"),
    "MMLU": ("question", "choices", "answer"),
    "ARC": ("question", "choices", "answerKey"),
    "OpenBookQA": ("question_stem", "choices", "answerKey"),
    "MedMCQA": ("question", "opa", "opb", "opc", "opd", "cop"),
    "RACE": ("article", "question", "options", "answer"),
    "HellaSwag": ("ctx", "endings", "label"),
    "WinoGrande": ("sentence", "option1", "option2", "answer"),
    "PIQA": ("goal", "sol1", "sol2", "label"),
    "MATH": ("problem", "solution"),
    "SQuAD": ("context", "question", "answers"),
    "BoolQ": ("passage", "question", "answer"),
    "DocVQA": ("question", "answers", "image"),
    "alpaca": ("instruction", "input", "output"),
    "Dolly": ("instruction", "context", "response"),
    "GSM8K": ("question", "answer"),
}
