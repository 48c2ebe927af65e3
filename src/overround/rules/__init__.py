"""Reading the rules: words and fields of markets in, propositions and constraints out."""

from overround.rules.draw import leg
from overround.rules.evaluate import Claims, GoldMarket, GoldRow, Score, Scores, evaluate
from overround.rules.grammar import HIGH, Reading, read
from overround.rules.judge import Judged, Judgement, Readable, Share, judge, readable
from overround.rules.matching import (
    Match,
    PairRow,
    PairScores,
    PairVerdict,
    Statement,
    Verdict,
    evaluate_pairs,
    match,
    statement,
)
from overround.rules.relate import relate
from overround.rules.review import (
    Decision,
    QueueItem,
    Ruling,
    correction_of,
    highlighted,
    queue_item,
    ruled,
    rulings,
)
from overround.rules.venues import VenuePair, venue_pairs
from overround.rules.wording import Wording, wording_of_market, wording_of_record

__all__ = [
    "HIGH",
    "Claims",
    "Decision",
    "GoldMarket",
    "GoldRow",
    "Judged",
    "Judgement",
    "Match",
    "PairRow",
    "PairScores",
    "PairVerdict",
    "QueueItem",
    "Readable",
    "Reading",
    "Ruling",
    "Score",
    "Scores",
    "Share",
    "Statement",
    "VenuePair",
    "Verdict",
    "Wording",
    "correction_of",
    "evaluate",
    "evaluate_pairs",
    "highlighted",
    "judge",
    "leg",
    "match",
    "queue_item",
    "read",
    "readable",
    "relate",
    "ruled",
    "rulings",
    "statement",
    "venue_pairs",
    "wording_of_market",
    "wording_of_record",
]
