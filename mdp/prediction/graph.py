"""Which policies end: reachability, proper policies and end components.

A policy is proper when it reaches a terminal state with probability 1 from every state (Bertsekas & Tsitsiklis 1991,
"An analysis of stochastic shortest path problems"). On a finite MDP that is a question about the graph alone: from
every state some terminal state can be reached. An end component (de Alfaro 1997) is a set of states, with an action
set for each, that can be stayed in for ever and whose states all reach one another.

`allowed` (S, A) bool is the part of A(s) that may be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from mdp.model.table import Bools, Floats, Ints

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


def _towards(mdp: FiniteMDP, goal: Bools, allowed: Bools) -> tuple[Bools, Ints]:
    """(reached, after): the states from which a goal state can be reached, and the next state on a shortest way.

    All goal states are one node, S; a breadth-first search goes backwards from it.
    """
    t, S = mdp.table, mdp.n_states
    used = allowed[t.state, t.action]
    after = np.where(goal[t.next], S, t.next)
    edges = sparse.csr_array((np.ones(used.sum(), bool), (after[used], t.state[used])), shape=(S + 1, S + 1))
    order, before = csgraph.breadth_first_order(edges, S, return_predecessors=True)
    reached = np.zeros(S + 1, bool)
    reached[order] = True
    return reached[:S] | goal, before[:S]


def never_ending(mdp: FiniteMDP, policy: Floats) -> Ints:
    """The states from which `policy` (S, A) never reaches a terminal state: none where it is proper."""
    return np.flatnonzero(~_towards(mdp, mdp.terminal, policy > 0)[0])


def may_never_end(mdp: FiniteMDP, policy: Floats) -> Ints:
    """The states from which `policy` (S, A) may reach one of `never_ending`: episodes from there may go on for ever."""
    stuck = np.zeros(mdp.n_states, bool)
    stuck[never_ending(mdp, policy)] = True
    return np.flatnonzero(_towards(mdp, stuck, policy > 0)[0])


def proper_policy(mdp: FiniteMDP, allowed: Bools, goal: Bools | None = None) -> tuple[Ints, Bools]:
    """(policy, ends): an action for each state, proper on the states `ends` (S,) where a proper policy exists.

    States that cannot reach the end are taken away, with every action that may lead to them, until none is left;
    then each state takes an action that may bring it one step nearer. -1 where there is none, and in terminal states.
    goal (S,) bool: other states that are to be reached for sure; what happens in them does not matter.
    """
    t, goal = mdp.table, mdp.terminal if goal is None else goal
    while True:
        ends, after = _towards(mdp, goal, allowed)
        leaks = np.zeros_like(allowed)
        lost = ~ends[t.next]
        leaks[t.state[lost], t.action[lost]] = True
        smaller = allowed & ~leaks & ends[:, None]
        if (smaller == allowed).all():
            break
        allowed = smaller
    node = np.where(goal[t.next], mdp.n_states, t.next)
    nearer = allowed[t.state, t.action] & (node == after[t.state])
    policy = np.full(mdp.n_states, -1)
    policy[t.state[nearer][::-1]] = t.action[nearer][::-1]  # the first such action stays
    return policy, ends


def end_components(mdp: FiniteMDP, allowed: Bools) -> tuple[Ints, Bools]:
    """(component (S,), inside (S, A)): the maximal end components of the allowed actions; -1 for states in none.

    Strongly connected components are found, actions that leave theirs are removed, until nothing changes.
    """
    t, S = mdp.table, mdp.n_states
    inside = allowed & ~mdp.terminal[:, None]
    while True:
        used = inside[t.state, t.action]
        graph = sparse.csr_array((np.ones(used.sum(), bool), (t.state[used], t.next[used])), shape=(S, S))
        component = csgraph.connected_components(graph, connection="strong")[1].astype(np.int64)
        leaves = component[t.state] != component[t.next]
        smaller = inside.copy()
        smaller[t.state[leaves], t.action[leaves]] = False
        if (smaller == inside).all():
            break
        inside = smaller
    return np.where(inside.any(axis=1), component, -1), inside
