"""Numbers to words: a translator that reads the characters of one column and writes words.

    python examples/numbers_to_words.py     # writes pairs, trains for a minute or two, translates

The same three steps serve dates in several forms, spelling to sound, and any other two columns:

    recurra train translate --data pairs.tsv --source-level char --target-level char
"""

import argparse
import random
import tempfile
from pathlib import Path

import recurra as rc

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(number: int) -> str:
    """The English words of a number below a million."""
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, rest = TENS[number // 10 - 2], number % 10
        return f"{tens}-{ONES[rest]}" if rest else tens
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    rest = f" {in_words(number % size)}" if number % size else ""
    return f"{in_words(number // size)} {name}{rest}"


def write_pairs(path: Path, count: int, seed: int = 0) -> None:
    """A table of numbers, of all lengths alike, and their words."""
    draw = random.Random(seed)
    numbers = {draw.randrange(10 ** draw.randint(1, 6)) for _ in range(count)}
    rows = (f"{number}\t{in_words(number)}\n" for number in sorted(numbers))
    path.write_text("source\ttarget\n" + "".join(rows))


def main() -> None:
    """Write the pairs, train, and translate a few numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--count", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        pairs = Path(name, "numbers.tsv")
        write_pairs(pairs, given.count)
        run = rc.train(
            "translate",
            data=pairs,
            out=Path(name, "run"),
            source_level="char",
            target_level="word",
            min_count=1,
            hidden_size=96,
            embedding_size=48,
            dropout=0.1,
            input_dropout=0.0,
            lr=5e-3,
            max_steps=given.steps,
        )
        figures = run.evaluate("test")
        print(f"{figures['exact']:.1%} of {figures['pairs']:,} numbers are right as a whole")
        for said in run.model.predict(["7", "1999", "86400", "123456"]):
            print("".join(said.source), "->", said.text)


if __name__ == "__main__":
    main()
