"""The screen of `fusewire top`. What it shows is made elsewhere: watch/overview.py, top_table.py, chains.py.

A look takes some tens of milliseconds; so it is taken in a thread beside the screen, one at a time. The table is made
anew from each look, and the cursor put where its connection is now.

Nothing is done to a mount without asking. What is then done is done to the connection that was shown when the key was
pressed, though the table may have changed in between (`Overview`, act_on).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import ClassVar, Final

from fusewire.cli import top_actions
from fusewire.cli.report import CommandError
from fusewire.cli.top import footnotes
from fusewire.cli.top_table import SORTS, aligned, cells, chosen, in_order, matching, printable
from fusewire.watch.chains import chains
from fusewire.watch.diagnosis import Diagnosis
from fusewire.watch.overview import Overview, Row, Snapshot
from fusewire.watch.scenarios import ADVICE
from fusewire.watch.words import brief, filled

try:
    from rich.text import Text
    from textual import work
    from textual.app import App, ComposeResult
    from textual.binding import Binding, BindingType
    from textual.containers import VerticalScroll
    from textual.screen import ModalScreen
    from textual.widgets import DataTable, Footer, Input, Static
except ImportError as error:
    raise CommandError(
        "the screen of top needs textual: pip install 'fusewire[cli]'. Without it: fusewire top --once"
    ) from error

__all__ = ["Question", "TopScreen", "show"]

PADDING: Final = 4  # columns of the table that a scroll bar and the cursor's edges take
SLOW: Final = ("slow", "unknown")

Deed = Callable[[Row], str]


def show(overview: Overview, arguments: argparse.Namespace) -> int:
    """Show the screen until somebody leaves it; return the exit code."""
    screen = TopScreen(overview, arguments)
    screen.run()
    return screen.return_code or 0


class Question(ModalScreen[bool]):
    """Asks for a yes; whatever else is pressed is a no."""

    CSS = """
    Question { align: center middle; }
    #question { width: auto; max-width: 76; height: auto; padding: 1 2; border: round $warning; background: $surface; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [("y", "answer(True)", "yes"), ("n,escape,enter", "answer(False)", "no")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def compose(self) -> ComposeResult:
        yield Static(Text(f"{printable(self.text)}\n\ny  yes        n  no"), id="question")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class TopScreen(App[None]):
    """The table of all connections, and below it all that is known of one."""

    TITLE = "fusewire top"
    ENABLE_COMMAND_PALETTE = False

    CSS = """
    #summary { height: 1; text-style: bold; }
    #table { height: auto; max-height: 50%; }
    #table.alone { height: 1fr; max-height: 100%; }
    #details { height: 1fr; border-top: solid $primary; display: none; }
    #details.shown { display: block; }
    #words { height: auto; }
    #filter { display: none; dock: bottom; }
    #filter.shown { display: block; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("d", "details", "details"),
        ("slash", "filter", "filter"),
        ("s", "sort", "sort"),
        Binding("r", "reverse", "reverse", show=False),
        ("a", "abort", "abort"),
        ("u", "unmount", "unmount"),
        ("t", "trace", "trace"),
        Binding("l", "light", "light", show=False),
        ("q", "quit", "quit"),
    ]

    def __init__(self, overview: Overview, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.overview = overview
        self.interval: float = arguments.interval
        self.words: list[str] = list(arguments.filter)
        self.sort: str = arguments.sort
        self.reverse: bool = arguments.reverse
        self.snapshot: Snapshot | None = None
        self.rows: list[Row] = []  # that are shown, in their order
        self.looking = False

    def compose(self) -> ComposeResult:
        yield Static("looking ...", id="summary")
        table: DataTable[Text] = DataTable(id="table", cursor_type="row", zebra_stripes=True)
        yield table
        with VerticalScroll(id="details", classes="shown"):
            yield Static("", id="words")
        hint = "words that must occur in a row; Enter: done, Escape: all"
        yield Input(placeholder=hint, select_on_focus=False, id="filter")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#table").focus()
        self.look()
        self.set_interval(self.interval, self.look)

    # --- looking

    def look(self) -> None:
        """Begin to look, unless the look before is not done yet."""
        if not self.looking:
            self.looking = True
            self.look_beside()

    @work(thread=True)
    def look_beside(self) -> None:
        """Look, in a thread."""
        try:
            snapshot = self.overview.refresh()
        finally:
            self.looking = False
        self.call_from_thread(self.take, snapshot)

    def take(self, snapshot: Snapshot) -> None:
        """Show a look."""
        self.snapshot = snapshot
        self.draw()

    # --- drawing

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        """Draw all anew."""
        if self.snapshot is None:
            return
        selected = self.selected
        self.rows = in_order(matching(self.snapshot.rows, self.words), self.sort, self.reverse)
        self.draw_table(selected)
        self.draw_details()
        self.query_one("#summary", Static).update(Text(summary(self.snapshot, self.rows, self.sort, self.words)))

    def draw_table(self, selected: Row | None) -> None:
        """Draw the table, with the cursor on the connection where it was."""
        table = self.query_one("#table", DataTable)
        top = table.scroll_offset.y
        columns = chosen(self.rows, self.size.width - PADDING)
        table.clear(columns=True)
        for column, width in columns:
            table.add_column(Text(aligned(column.title, column, width)), width=width)
        for row in self.rows:
            table.add_row(*(Text(cell, style=style_of(row)) for cell in cells(row, columns)))
        keys = [(row.number, row.identity) for row in self.rows]
        if selected is not None and (selected.number, selected.identity) in keys:
            table.move_cursor(row=keys.index((selected.number, selected.identity)), scroll=False)
        table.scroll_to(y=top, animate=False)

    def draw_details(self) -> None:
        width = max(20, self.size.width - PADDING)
        row = self.selected
        lines = details(self.snapshot, row, width) if row and self.snapshot else ["There is nothing to show."]
        self.query_one("#words", Static).update(Text("\n".join(map(printable, lines))))

    @property
    def selected(self) -> Row | None:
        """The row under the cursor."""
        index = self.query_one("#table", DataTable).cursor_row
        return self.rows[index] if 0 <= index < len(self.rows) else None

    def on_data_table_row_highlighted(self) -> None:
        self.draw_details()

    def on_data_table_row_selected(self) -> None:
        self.action_details()

    # --- keys

    def action_details(self) -> None:
        self.query_one("#details").toggle_class("shown")
        self.query_one("#table").toggle_class("alone")

    def action_sort(self) -> None:
        names = list(SORTS)
        self.sort = names[(names.index(self.sort) + 1) % len(names)]
        self.draw()

    def action_reverse(self) -> None:
        self.reverse = not self.reverse
        self.draw()

    def action_light(self) -> None:
        self.theme = "textual-dark" if self.theme == "textual-light" else "textual-light"

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.value = " ".join(self.words)
        field.add_class("shown")
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.words = event.value.split()
        self.draw()

    def on_input_submitted(self) -> None:
        self.query_one("#filter").remove_class("shown")
        self.query_one("#table").focus()

    def on_key(self, event: object) -> None:
        field = self.query_one("#filter", Input)
        if getattr(event, "key", "") == "escape" and field.has_focus:
            field.value = ""
            self.on_input_submitted()

    # --- what changes something: each asks first

    def action_abort(self) -> None:
        self.ask("Abort {place} (connection {number})? Every call on it fails with ECONNABORTED.", top_actions.abort)

    def action_unmount(self) -> None:
        self.ask("Unmount {place} (connection {number})?", top_actions.unmount_it)

    def action_trace(self) -> None:
        self.ask("Trace the requests of {place} (connection {number}) until Ctrl-C?", self.trace)

    def ask(self, question: str, deed: Deed) -> None:
        """Ask about the connection under the cursor, and do it if the answer is yes."""
        row = self.selected
        if row is None:
            return

        def answered(yes: bool | None) -> None:
            if yes and row is not None:
                self.perform(deed, row)

        self.push_screen(Question(question.format(place=row.diagnosis.place, number=row.number)), answered)

    def perform(self, deed: Deed, row: Row) -> None:
        """Do it: what needs the terminal at once, all else in a thread."""
        if deed == self.trace:
            self.tell(self.trace(row))
        else:
            self.perform_beside(deed, row)

    @work(thread=True)
    def perform_beside(self, deed: Deed, row: Row) -> None:
        self.call_from_thread(self.tell, deed(row))

    def trace(self, row: Row) -> str:
        with self.suspend():
            return top_actions.trace(row)

    def tell(self, sentence: str) -> None:
        """Say what came of it, and look at what is so now."""
        if sentence:
            self.notify(printable(sentence), markup=False)
        self.look()


# --- texts


def style_of(row: Row) -> str:
    """Return how a row looks: colours that are to be told apart on light and on dark, and bold where they are not."""
    if row.diagnosis.is_sick:
        return "bold red"
    return "yellow" if row.diagnosis.state.value in SLOW else ""


def summary(snapshot: Snapshot, rows: list[Row], sort: str, words: list[str]) -> str:
    """Say in a line how many there are, and which are shown how."""
    sick = sum(row.diagnosis.is_sick for row in snapshot.rows)
    count = len(snapshot.rows)
    shown = f", {len(rows)} shown, with '{' '.join(words)}'" if words else ""
    return f"{count} FUSE connection{'' if count == 1 else 's'}, {sick} sick{shown}; by {sort}"


def details(snapshot: Snapshot, row: Row, width: int) -> list[str]:
    """Return all that is known of one connection: the diagnosis, who waits for whom, what to do, what is missing."""
    tree = [("  " * (depth + 1), text) for depth, text in chains(row.number, snapshot.diagnoses)]
    paragraphs = [
        *([("", ""), ("", "Who waits for whom:"), *tree, ("", "")] if tree else []),
        *(("  ", text) for text in known_besides(row.diagnosis)),
        *(("", text) for text in footnotes(snapshot)),
    ]
    cure = [f"  Next: {row.diagnosis.cure}"] if row.diagnosis.cure else []  # to be typed: it stays in one line
    lines = (line for indent, text in paragraphs for line in filled(indent, text, width) or [""])
    return [*brief(row.diagnosis, width), *cure, *lines]


def known_besides(diagnosis: Diagnosis) -> list[str]:
    """Return remarks, how what is the matter came about, and what to change."""
    advice = ADVICE[diagnosis.scenario] if diagnosis.scenario else None
    change = [f"Lest it come back: {advice.change}"] if advice and advice.change and diagnosis.is_sick else []
    return [*diagnosis.remarks, *([advice.happened] if advice else []), *change]
