"""A model for lm-evaluation-harness that is nothing but llama-cpp-python: the harness's own tokenization of pairs, one question at a time."""

import ctypes

import llama_cpp
import numpy as np
from lm_eval.api.model import TemplateLM


class LlamaCpp(TemplateLM):
    """Log-likelihoods and greedy answers, with the logits that were left unchosen kept to explain differences."""

    def __init__(self, path, context, threads):
        super().__init__()
        # Attention as llama.cpp itself chooses it, which this binding would not.
        self.llama = llama_cpp.Llama(
            str(path), n_ctx=context, n_batch=512, n_threads=threads, n_threads_batch=threads, flash_attn=True, logits_all=True, verbose=False
        )
        # For each answer, in the order asked: its text, the prompt's tokens, and its own as (token, bytes, how far ahead of the second best).
        self.answers = []

    @property
    def eot_token_id(self):
        return self.llama.token_eos()

    def tok_encode(self, string, add_special_tokens=True, **_):
        return self.llama.tokenize(string.encode(), add_bos=add_special_tokens, special=True)

    def feed(self, tokens):
        """Makes `tokens` what the context holds; what it shares with the last ones is not computed again."""
        held = self.llama.input_ids[: self.llama.n_tokens]
        same = 0
        while same < min(len(held), len(tokens) - 1) and held[same] == tokens[same]:
            same += 1
        self.llama.n_tokens = same
        self.llama.eval(tokens[same:])

    def piece(self, token):
        buffer = ctypes.create_string_buffer(512)
        length = llama_cpp.llama_token_to_piece(self.llama._model.vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(0, length)]

    def lead(self, tokens, token, batch):
        """How far `token` is ahead of all others after `tokens`, if these are computed in batches of another size."""
        usual, self.llama.n_batch = self.llama.n_batch, batch
        self.llama.n_tokens = 0
        self.llama.eval(tokens)
        self.llama.n_batch = usual
        logits = self.logits(len(tokens) - 1)
        return float(logits[token] - np.delete(logits, token).max())

    def logits(self, position):
        return self.llama.scores[position].astype(np.float64)

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, **_):
        results = []
        for _, context, continuation in requests:
            tokens = context + continuation
            self.feed(tokens)
            total, greedy = 0.0, True
            for position, token in enumerate(continuation, len(context) - 1):
                logits = self.logits(position)
                top = logits.max()
                total += logits[token] - top - np.log(np.exp(logits - top).sum())
                greedy &= int(logits.argmax()) == token
            results.append((float(total), greedy))
        return results

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError("no task here asks for it")

    def generate_until(self, requests, disable_tqdm=False):
        texts = []
        for request in requests:
            prompt, options = request.args
            tokens, pieces = self.tok_encode(prompt), []
            self.feed(tokens)
            text = b""
            for _ in range(options["max_gen_toks"]):
                logits = self.logits(self.llama.n_tokens - 1)
                token = int(logits.argmax())
                if llama_cpp.llama_vocab_is_eog(self.llama._model.vocab, token):
                    break
                piece = self.piece(token)
                second = np.partition(logits, -2)[-2]
                pieces.append((token, piece, float(logits[token] - second)))
                text += piece
                if any(stop.encode() in text for stop in options["until"]):
                    break
                self.llama.eval([token])
            cut = text.decode(errors="replace")
            for stop in options["until"]:
                cut = cut.split(stop)[0]
            texts.append(cut)
            self.answers.append((cut, tokens, pieces))
        return texts
