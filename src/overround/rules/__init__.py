"""Reading the rules: words and fields of markets in, propositions and constraints out."""

from overround.rules.evaluate import Claims, GoldMarket, GoldRow, Score, Scores, evaluate
from overround.rules.grammar import HIGH, Reading, read
from overround.rules.matching import Match, PairRow, PairScores, Statement, Verdict, evaluate_pairs, match, statement
from overround.rules.relate import relate
from overround.rules.wording import Wording, wording_of_market, wording_of_record

__all__ = [
    "HIGH",
    "Claims",
    "GoldMarket",
    "GoldRow",
    "Match",
    "PairRow",
    "PairScores",
    "Reading",
    "Score",
    "Scores",
    "Statement",
    "Verdict",
    "Wording",
    "evaluate",
    "evaluate_pairs",
    "match",
    "read",
    "relate",
    "statement",
    "wording_of_market",
    "wording_of_record",
]
