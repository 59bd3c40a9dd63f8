"""Assignment 1: returns and values. Sutton & Barto (2nd ed.), chapters 3 and 4.

marimo edit a1_values.py       write the four functions here; each is checked as soon as its cell has run
pytest a1_values.py            the same checks
exactrl grade a1_values.py     the same checks, with points
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Assignment 1: returns and values")

with app.setup:
    import marimo as mo
    import numpy as np

    from agents import assert_close
    from envs import garnet, gridworld_5x5
    from mdp import evaluate, returns_to_go, solve

    TASKS = ("returns", "state_values", "action_values", "optimal_values")


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # Assignment 1: returns and values

    Four functions. Below each is a check against the exact solver; it says by how much you are off. In all of them

    | | shape | |
    |---|---|---|
    | `P` | (S, A, S) | $P[s, a, s'] = p(s'|s,a)$ |
    | `R` | (S, A) | $R[s, a] = r(s,a)$, the expected reward |
    | `pi` | (S, A) | $\pi(a|s)$ |
    | `gamma` | | $0 \le \gamma < 1$ |

    Use numpy; do not use `mdp`: that is what you are held against.
    """)
    return


@app.function
def tables():
    """Problems to be right on: one of the book, and random ones. Every action is allowed in every state."""
    worlds = [gridworld_5x5(), garnet(seed=1), garnet(7, 4, 2, seed=2, gamma=0.5)]
    S_A_S = [(m.n_states, m.n_actions, m.n_states) for m in worlds]
    return [(m.transition.toarray().reshape(shape), m.expected_reward, m.gamma, m)
            for m, shape in zip(worlds, S_A_S, strict=True)]  # fmt: skip


@app.function
def some_policy(m, seed):
    """A random policy (S, A)."""
    return np.random.default_rng(seed).dirichlet(np.ones(m.n_actions), m.n_states)


@app.cell(hide_code=True)
def task_1():
    mo.md(r"""
    ## 1. Returns

    $G_t = R_{t+1} + \gamma\, G_{t+1}$, and $G_T = 0$. `rewards[t]` is $R_{t+1}$. Return the list of all $G_t$, as long
    as `rewards`.
    """)
    return


@app.function
def returns(rewards, gamma):
    """G_t for every t, (T,)."""
    raise NotImplementedError("yours to write")


@app.function
def test_returns():
    rng = np.random.default_rng(0)
    for T, gamma in ((1, 0.9), (5, 0.0), (5, 1.0), (40, 0.9)):
        rewards = rng.normal(size=T)
        assert_close(f"G_t of {T} rewards, gamma {gamma}", returns(rewards, gamma), returns_to_go(rewards, gamma))


@app.cell
def check_1():
    test_returns()
    mo.md("**Right.**")
    return


@app.cell(hide_code=True)
def task_2():
    mo.md(r"""
    ## 2. State values

    $v_\pi = r_\pi + \gamma P_\pi v_\pi$ with $r_\pi(s) = \sum_a \pi(a|s)\, r(s,a)$ and
    $P_\pi(s, s') = \sum_a \pi(a|s)\, p(s'|s,a)$. Solve it exactly.
    """)
    return


@app.function
def state_values(P, R, gamma, pi):
    """v_pi (S,)."""
    raise NotImplementedError("yours to write")


@app.function
def test_state_values():
    for k, (P, R, gamma, m) in enumerate(tables()):
        pi = some_policy(m, k)
        assert_close(f"v_pi of problem {k}", state_values(P, R, gamma, pi), evaluate(m, pi).v)


@app.cell
def check_2():
    test_state_values()
    mo.md("**Right.**")
    return


@app.cell(hide_code=True)
def task_3():
    mo.md(r"""
    ## 3. Action values

    $q(s,a) = r(s,a) + \gamma \sum_{s'} p(s'|s,a)\, v(s')$ for any given `v` (S,).
    """)
    return


@app.function
def action_values(P, R, gamma, v):
    """q (S, A)."""
    raise NotImplementedError("yours to write")


@app.function
def test_action_values():
    for k, (P, R, gamma, m) in enumerate(tables()):
        v = np.random.default_rng(k).normal(size=m.n_states)
        assert_close(f"q of problem {k}", action_values(P, R, gamma, v), m.backup(v))


@app.cell
def check_3():
    test_action_values()
    mo.md("**Right.**")
    return


@app.cell(hide_code=True)
def task_4():
    mo.md(r"""
    ## 4. Optimal values

    $v_*(s) = \max_a q_*(s,a)$, by any method of chapter 4, to $10^{-6}$.
    """)
    return


@app.function
def optimal_values(P, R, gamma):
    """v* (S,)."""
    raise NotImplementedError("yours to write")


@app.function
def test_optimal_values():
    for k, (P, R, gamma, m) in enumerate(tables()):
        assert_close(f"v* of problem {k}", optimal_values(P, R, gamma), solve(m).v, tolerance=1e-6)


@app.cell
def check_4():
    test_optimal_values()
    mo.md("**Right.**")
    return


if __name__ == "__main__":
    app.run()
