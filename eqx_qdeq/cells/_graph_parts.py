"""Which device has which nodes of a graph, and what it must be told of the others: NumPy alone."""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

Rows = Int[np.ndarray, " _"]
Routes = tuple[tuple[tuple[int, int], ...], ...]


class Parts(NamedTuple):
    """A graph in equal parts. All arrays are those of part after part, equally long in each."""

    nodes: Rows  # of each row, -1 for padding
    edges: Rows  # the same for the edges
    senders: Rows  # among the part's rows, and those that it is sent
    receivers: Rows  # among the part's rows
    sent: tuple[Rows, ...]  # the rows that each part sends, to one other at a time:
    routes: Routes  # (from, to)


def part_nodes(senders: Rows, receivers: Rows, order: Rows, n_parts: int) -> Parts:
    """The nodes in this order, in parts of equal size but for padding; the edges where they end."""
    n, size = len(order), -(-len(order) // n_parts)
    # A part has nodes even where rounding up would leave none for the last ones.
    starts = np.arange(n_parts + 1) * n // n_parts
    nodes = np.full((n_parts, size), -1)
    for part, (start, end) in enumerate(itertools.pairwise(starts)):
        nodes[part, : end - start] = order[start:end]
    row = np.empty(n, np.int64)  # of each node
    row[nodes[nodes >= 0]] = np.flatnonzero(nodes.ravel() >= 0)

    sent_from, from_row = np.divmod(row[senders], size)
    ends_in, to_row = np.divmod(row[receivers], size)
    # What a part is sent, each row once, by the distance from where it comes.
    far = np.flatnonzero(sent_from != ends_in)
    key = ends_in[far] * (n_parts * size) + row[senders[far]]
    wanted, which = np.unique(key, return_inverse=True)
    to, of = np.divmod(wanted, n_parts * size)
    source, of_row = np.divmod(of, size)
    distance = (to - source) % n_parts

    sent, routes = [], []
    place = np.empty(len(wanted), np.int64)  # among the rows of the part that is sent it
    taken = size
    for k in np.unique(distance):
        some = np.flatnonzero(distance == k)  # those to one part follow each other
        parts, firsts, counts = np.unique(to[some], return_index=True, return_counts=True)
        within = np.arange(len(some)) - np.repeat(firsts, counts)
        rows = np.zeros((n_parts, counts.max()), np.int64)
        rows[source[some], within] = of_row[some]
        place[some] = taken + within
        taken += rows.shape[1]
        sent.append(rows.ravel())
        routes.append(tuple((int((p - k) % n_parts), int(p)) for p in parts))
    from_row[far] = place[which]

    # Edges in the order of their ends, filled up with edges of no weight.
    by_end = np.lexsort((to_row, ends_in))
    counts = np.bincount(ends_in, minlength=n_parts)
    edges = np.full((n_parts, counts.max(initial=0)), -1)
    edges[np.arange(edges.shape[1]) < counts[:, None]] = by_end
    edges = edges.ravel()
    there = edges >= 0
    return Parts(
        nodes.ravel(),
        edges,
        np.where(there, from_row[edges] if len(from_row) else 0, 0),
        np.where(there, to_row[edges] if len(to_row) else 0, size - 1),
        tuple(sent),
        tuple(routes),
    )


def short_edges(senders: Rows, receivers: Rows, n: int) -> Rows:
    """The nodes in an order in which edges are short."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    ones = np.ones(len(senders), np.int8)
    return reverse_cuthill_mckee(coo_array((ones, (receivers, senders)), shape=(n, n)).tocsr())
