"""The form in which a model reads a prompt and writes a reply, by its chat template: one form for training (trainer.py),
sampling and log-probabilities (server.py), so that what is scored and generated is what was trained. Imports no torch.

The rule: prompt = the template's generation prompt, asked for without thinking (enable_thinking=False, which templates
that do not know it ignore), and what the template writes between that and a reply (an empty think block). Reply = the
text as it is, and the template's end of turn. What else a template would insert into a reply or remove from it
(reasoning before </think>, spaces) does not count. A think block that the generation prompt leaves open stays open: the
reply is written inside, and may close it.
Raises BadTemplate."""

import datetime

PLACE = "srlm"  # stands for the text of a reply
# What a template must keep; case and the spaces around a text are its own affair.
QUESTION, EARLIER, SYSTEM = "Is <a> & 'b' one?", "Is {c} \"d\"?", "Say yes or no."


class BadTemplate(Exception):
    """No model can be trained with the template; one sentence, without a subject."""


class FixedDay(datetime.datetime):
    """The day that templates take for the current one (Llama 3.2 writes it before every prompt): a prompt must not depend
    on when it is made."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, tzinfo=tz)


class Chat:
    def __init__(self, tokenizer):
        from transformers.utils import chat_template_utils  # not at the top: a bad job is reported before this import
        chat_template_utils.datetime = FixedDay  # a template takes the function that reads it from there only
        self.tokenizer = tokenizer
        turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": PLACE}]
        system = {"role": "system", "content": SYSTEM}
        # A template may demand a system message; if that is not it, its own words say what is.
        self.system = [system] if self.refuses(turns) else []
        self.takes_system = not self.refuses([system, *turns], SYSTEM)
        earlier = [{"role": "user", "content": EARLIER}, {"role": "assistant", "content": "No."}]
        self.keeps_turns = not self.refuses([*self.system, *earlier, *turns], EARLIER)
        turns = [*self.system, *turns]
        asked, whole = self.render(turns[:-1], add_generation_prompt=True), self.render(turns)
        before, found, after = whole.rpartition(PLACE)
        if not found:
            raise BadTemplate("leaves out the text of a reply.")
        if QUESTION.lower() not in asked.lower():
            raise BadTemplate(f"leaves out the text of a question, or changes it: {QUESTION} becomes {asked[-200:]!r}.")
        between = before.removeprefix(asked) if before.startswith(asked) else ""
        # Spaces alone are dropped: joined to the prompt, they would be other tokens than those that a model writes.
        self.opening = between if between.strip() else ""
        self.end = after.rstrip()  # what comes after the end of turn is never sampled
        self.adds_end = not self.marks_end(self.end)
        if self.adds_end:
            if not tokenizer.eos_token:
                raise BadTemplate("has no end of turn after a reply, and the tokenizer has no eos_token.")
            self.end += tokenizer.eos_token
        self.opens_thought = (asked + self.opening).rstrip().endswith("<think>")

    def render(self, messages, **how) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False, **how)

    def refuses(self, messages, kept: str = "") -> bool:
        """`kept`: a text that the template must not leave out, which loses it without a word."""
        try:
            return kept.lower() not in self.render(messages).lower()
        except MemoryError:
            raise
        except Exception:  # templates raise any exception for roles, or an order of them, that they do not support
            return True

    def marks_end(self, text: str) -> bool:
        ids = self.tokenizer(text.strip(), add_special_tokens=False, verbose=False).input_ids
        known = self.tokenizer.added_tokens_decoder
        return bool(ids) and (ids[0] == self.tokenizer.eos_token_id or ids[0] in known and known[ids[0]].special)

    def prompt(self, messages) -> str:
        return self.render(messages, add_generation_prompt=True) + self.opening

    def encode(self, rows, max_length: int, overlong: str):
        """Examples [(token ids, index where the reply begins)], and how many rows were left out and cut. Prompt and reply
        are encoded separately, as in sampling. A prompt that does not fit loses its beginning. A reply that does not fit
        is left out, or loses its beginning, too: its end holds the answer and the end of turn."""
        ids = lambda texts: self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        prompts = ids([self.prompt(messages[:-1]) for messages in rows])
        replies = ids([messages[-1]["content"] + self.end for messages in rows])
        examples, left_out, cut = [], 0, 0
        for prompt, reply in zip(prompts, replies):
            if len(reply) >= max_length and overlong == "leave-out":
                left_out += 1
                continue
            cut += len(prompt) + len(reply) > max_length
            reply = reply[-(max_length - 1):]
            prompt = prompt[-(max_length - len(reply)):]
            examples.append((prompt + reply, len(prompt)))
        return examples, left_out, cut
