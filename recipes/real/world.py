"""Writes the questions of this folder: three skills in a small world of people, things and numbers below 100.

Usage: world.py. Writes english_math_test.jsonl, spanish_test.jsonl, target_search.jsonl and target_test.jsonl beside this file. Training
(train.py) draws from the same templates and leaves out what stands in the test files.
"""

import json
import pathlib
import random

HERE = pathlib.Path(__file__).parent
PEOPLE = "Ana David Laura Daniel Clara Hugo Marta Pablo Sofia Diego Elena Oscar Julia Victor Nora Bruno Eva Simon Carmen Martin".split()
THINGS = [
    ("books", "libros", "o"), ("apples", "manzanas", "a"), ("coins", "monedas", "a"), ("plates", "platos", "o"),
    ("flowers", "flores", "a"), ("eggs", "huevos", "o"), ("shirts", "camisas", "a"), ("glasses", "vasos", "o"),
    ("chairs", "sillas", "a"), ("hats", "sombreros", "o"), ("candles", "velas", "a"), ("maps", "mapas", "o"),
    ("stones", "piedras", "a"), ("shoes", "zapatos", "o"), ("cups", "tazas", "a"), ("horses", "caballos", "o"),
    ("keys", "llaves", "a"), ("oranges", "naranjas", "a"), ("letters", "cartas", "a"), ("toys", "juguetes", "o"),
]  # fmt: skip
GAINS = [("bought", "compró"), ("found", "encontró"), ("received", "recibió"), ("won", "ganó")]
LOSSES = [("lost", "perdió"), ("sold", "vendió"), ("gave away", "regaló"), ("broke", "rompió")]


def change(rng, have):
    """A gain or a loss that keeps `have` between 2 and 99: its verb, how much, what is left."""
    if have > 30 and rng.random() < 0.5 or have > 90:
        much = rng.randint(2, have - 2)
        return rng.choice(LOSSES), much, "-", have - much
    much = rng.randint(2, 99 - have)
    return rng.choice(GAINS), much, "+", have + much


class Story:
    """What happened, to be told in either language, and the sums that answer it."""

    def __init__(self, rng):
        self.kind = rng.choice(["one", "two", "compare", "boxes"])
        self.who, self.other = rng.sample(PEOPLE, 2)
        self.what = rng.choice(THINGS)
        self.have = rng.randint(5, 80)
        self.steps = []
        if self.kind in ("one", "two"):
            now = self.have
            self.changes = []
            for _ in range(1 if self.kind == "one" else 2):
                verb, much, sign, then = change(rng, now)
                self.changes.append((verb, much))
                self.steps.append(f"{now}{sign}{much}={then}.")
                now = then
        elif self.kind == "compare":
            _, self.much, self.sign, now = change(rng, self.have)
            self.steps.append(f"{self.have}{self.sign}{self.much}={now}.")
        else:
            self.have = rng.randint(5, 50)
            self.boxes, self.each = rng.randint(2, 6), rng.randint(2, 8)
            inside = self.boxes * self.each
            now = self.have + inside
            self.steps += [f"{self.boxes}*{self.each}={inside}.", f"{self.have}+{inside}={now}."]
        self.now = now
        self.owner = self.other if self.kind == "compare" else self.who

    def english(self):
        what = self.what[0]
        if self.kind in ("one", "two"):
            told = [f"{self.who} had {self.have} {what}."] + [f"{self.who} {v[0]} {n} {what}." for v, n in self.changes]
        elif self.kind == "compare":
            than = f"{self.much} {'more' if self.sign == '+' else 'fewer'} {what} than {self.who}"
            told = [f"{self.who} has {self.have} {what}.", f"{self.other} has {than}."]
        else:
            told = [f"{self.who} has {self.have} {what} and {self.boxes} boxes of {self.each} {what}."]
        return " ".join(told), f"How many {what} does {self.owner} have now?", f"{self.owner} has {self.now} {what}."

    def spanish(self):
        _, what, gender = self.what
        if self.kind in ("one", "two"):
            told = [f"{self.who} tenía {self.have} {what}."] + [f"{self.who} {v[1]} {n} {what}." for v, n in self.changes]
        elif self.kind == "compare":
            than = f"{self.much} {what} {'más' if self.sign == '+' else 'menos'} que {self.who}"
            told = [f"{self.who} tiene {self.have} {what}.", f"{self.other} tiene {than}."]
        else:
            told = [f"{self.who} tiene {self.have} {what} y {self.boxes} cajas de {self.each} {what}."]
        return " ".join(told), f"¿Cuánt{gender}s {what} tiene {self.owner} ahora?", f"{self.owner} tiene {self.now} {what}."


def english_math(rng):
    """English word problems: the sums, then a sentence."""
    story = Story(rng)
    told, question, said = story.english()
    return {"prompt": f"Question: {told} {question}\nAnswer:", "reference": " " + " ".join([*story.steps, said]),
            "answer": f"has {story.now} {story.what[0]}"}  # fmt: skip


def target(rng):
    """The goal: the same in Spanish, asked as the English ones are."""
    story = Story(rng)
    told, question, said = story.spanish()
    return {"prompt": f"Question: {told} {question}\nAnswer:", "reference": " " + " ".join([*story.steps, said]),
            "answer": f"tiene {story.now} {story.what[1]}"}  # fmt: skip


def spanish(rng):
    """Spanish without arithmetic: what a story says, and its sentences from and into English."""
    who, other = rng.sample(PEOPLE, 2)
    (_, what, gender), (_, more, many) = things = rng.sample(THINGS, 2)
    have, much = rng.randint(2, 99), rng.randint(2, 99)
    verb = rng.choice(GAINS + LOSSES)
    form = rng.random()
    if form < 0.25:
        told = [(who, have, what, gender), (rng.choice([who, other]), much, more, many)]
        whose, number, thing, ending = rng.choice(told)
        text = " ".join(f"{name} tiene {n} {x}." for name, n, x, _ in told)
        question, answer = f"¿Cuánt{ending}s {thing} tiene {whose}?", f"{whose} tiene {number} {thing}."
    elif form < 0.5:
        text = f"{who} tenía {have} {what}. {who} {verb[1]} {much} {what}."
        question, answer = rng.choice([
            (f"¿Cuánt{gender}s {what} tenía {who}?", f"{who} tenía {have} {what}."),
            (f"¿Cuánt{gender}s {what} {verb[1]} {who}?", f"{who} {verb[1]} {much} {what}."),
        ])  # fmt: skip
    else:
        than, que = rng.choice([("more", "más"), ("fewer", "menos")])
        thing = rng.choice(things)
        here, there = rng.choice([
            (f"{who} {verb[0]} {much} {thing[0]}.", f"{who} {verb[1]} {much} {thing[1]}."),
            (f"{who} had {much} {thing[0]}.", f"{who} tenía {much} {thing[1]}."),
            (f"{who} has {much} {than} {thing[0]} than {other}.", f"{who} tiene {much} {thing[1]} {que} que {other}."),
            (f"{who} has {much} boxes of {have} {thing[0]}.", f"{who} tiene {much} cajas de {have} {thing[1]}."),
        ])  # fmt: skip
        if rng.random() < 0.5:
            text, question, answer = here, "¿Cómo se dice en español?", there
        else:
            text, question, answer = there, "¿Cómo se dice en inglés?", here
    return {"prompt": f"Pregunta: {text} {question}\nRespuesta:", "reference": f" {answer}", "answer": answer}


SKILLS = {"english_math": english_math, "spanish": spanish}


def read(name):
    return [json.loads(line) for line in open(HERE / f"{name}.jsonl", encoding="utf-8")]


def draw(make, rng, count, without=()):
    """Different questions, none of them in `without`."""
    seen = {row["prompt"] for row in without}
    rows = []
    while len(rows) < count:
        row = make(rng)
        if row["prompt"] not in seen:
            seen.add(row["prompt"])
            rows.append(row)
    return rows


def write(name, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (HERE / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name, make in SKILLS.items():
        write(f"{name}_test", draw(make, random.Random(f"{name} test"), 100))
    goal = draw(target, random.Random("target"), 96 + 200)
    write("target_search", goal[:96])
    write("target_test", goal[96:])
