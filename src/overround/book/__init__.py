"""Order books: one ladder pair per market, in integers."""

from overround.book.ladder import NO_ASK_E4, NO_BID_E4, Book, Level, Side, mirror
from overround.book.shelf import BookShelf

__all__ = ["NO_ASK_E4", "NO_BID_E4", "Book", "BookShelf", "Level", "Side", "mirror"]
