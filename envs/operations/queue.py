"""Admission to a queue. Puterman (1994), section 3.7.1; Stidham (1985) on why a threshold is best.

        arrival -> accept? -> [ x jobs, one server ] -> reward

A slot begins with x jobs in the system and w = 0 or 1 job at the door. An accepted job joins, a rejected one is gone:
y = x + 1 or x. Each of the y jobs costs `holding` for the slot. With probability p_service one of them, if there is
any, is done and pays `reward`. With probability p_arrival a job is at the door when the next slot begins.

    s = (x, w),  s' = (y - D, w'),  R = reward D - holding y,  D = 1 with probability p_service if y > 0, else 0

Puterman's model with at most one arrival and one completion in a slot, and room for `capacity` jobs.

Known answer: the best policy accepts as long as few enough are waiting: with the defaults as long as x < 3. With room
for one job there is a closed form. Let c = p_service reward - holding, q = p_service, and d the probability with which
an empty system gets a job, p_arrival where every job is accepted and p_arrival / 2 by the uniform policy. Then

    v(0, 0) = i v(1, .),    v(1, .) = c / (1 - gamma (1 - q) - q i),    i = gamma d / (1 - gamma (1 - d))
"""

from __future__ import annotations

from envs.answers import Answer, Entry
from mdp import FiniteMDP

State = tuple[int, int]


def admission_queue(
    capacity: int = 10,
    p_arrival: float = 0.4,
    p_service: float = 0.5,
    reward: float = 20.0,
    holding: float = 1.0,
    gamma: float = 0.95,
) -> FiniteMDP:
    """States (x, w): jobs in the system, jobs at the door; a continuing task that starts with an empty system.

    Actions: "accept" (where x < capacity) and "reject" where w = 1, "wait" where w = 0.
    Raises ValueError for capacity < 1, and probabilities outside [0, 1].

    >>> from envs import admission_queue
    >>> from mdp import solve
    >>> m = admission_queue()
    >>> accepts = solve(m).optimal_actions[:, m.action_index("accept")]
    >>> [x for x in range(10) if accepts[m.state_index((x, 1))]]  # a threshold: as long as x < 3
    [0, 1, 2]
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1 job, not {capacity}")
    for name, p in (("p_arrival", p_arrival), ("p_service", p_service)):
        if not 0 <= p <= 1:
            raise ValueError(f"{name} must lie in [0, 1], not {p}")

    def slot(y: int) -> list[tuple[float, State, float]]:
        served = [(p_service, 1), (1 - p_service, 0)] if y else [(1.0, 0)]
        arrived = [(p_arrival, 1), (1 - p_arrival, 0)]
        return [(p * q, (y - done, w), reward * done - holding * y) for p, done in served for q, w in arrived]

    outcomes = {}
    for x in range(capacity + 1):
        outcomes[(x, 0), "wait"] = slot(x)
        outcomes[(x, 1), "reject"] = slot(x)
        if x < capacity:
            outcomes[(x, 1), "accept"] = slot(x + 1)
    start = {(0, 0): 1 - p_arrival, (0, 1): p_arrival}
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, start=start, actions=["wait", "reject", "accept"])


def _one_job(d: float) -> tuple[float, float]:
    """(v(0, 0), v(1, .)) with room for one job and the default numbers, by the formula above."""
    gamma, q, c = 0.95, 0.5, 0.5 * 20 - 1
    idle = gamma * d / (1 - gamma * (1 - d))
    busy = c / (1 - gamma * (1 - q) - q * idle)
    return idle * busy, busy


EMPTY, FULL = _one_job(0.4)
EMPTY_UNIFORM, FULL_UNIFORM = _one_job(0.2)
IN_FRACTIONS = "the linear system, in fractions"
ENTRY = Entry(
    admission_queue,
    (
        Answer(
            "uniform",
            0.95,
            {(0, 0): 61.572540019604034, (0, 1): 69.67419002218351, (10, 1): 63.67201581303702},
            IN_FRACTIONS,
        ),
        Answer(
            "optimal",
            0.95,
            {(0, 0): 108.64987439953742, (0, 1): 122.94591050473973, (3, 1): 130.9614424378516,
             (10, 1): 91.21810364894814},
            IN_FRACTIONS,
        ),
        Answer(
            "uniform",
            0.95,
            {(0, 0): EMPTY_UNIFORM, (0, 1): (EMPTY_UNIFORM + FULL_UNIFORM) / 2, (1, 0): FULL_UNIFORM},
            "closed form for one job",
            parameters={"capacity": 1},
        ),
        Answer(
            "optimal",
            0.95,
            {(0, 0): EMPTY, (0, 1): FULL, (1, 0): FULL, (1, 1): FULL},
            "closed form for one job",
            parameters={"capacity": 1},
        ),
    ),
    cell=lambda s: (s[1], s[0]),
)
