"""Assignment 2: REINFORCE, held against the policy gradient theorem. Sutton & Barto (2nd ed.), chapter 13.

marimo edit a2_reinforce.py       write the four functions here; each is checked as soon as its cell has run
pytest a2_reinforce.py            the same checks
exactrl grade a2_reinforce.py     the same checks, with points
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Assignment 2: REINFORCE")

with app.setup:
    import marimo as mo
    import numpy as np
    import torch

    from agents import SoftmaxPolicy, TabularPreferences, assert_close, audit
    from agents.losses import named
    from envs import recycling_robot, short_corridor, tokens
    from mdp import enumerate_trajectories, policy_gradient, softmax_policy, unroll

    TASKS = ("score", "estimate", "loss", "loss_with_a_baseline")

    torch.set_num_threads(1)


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # Assignment 2: REINFORCE

    $$\nabla J(\theta) = \sum_s \eta(s) \sum_a \nabla\pi(a|s)\, q_\pi(s,a)
    = \mathbb E\Big[\sum_t \gamma^t\, G_t\, \nabla\log\pi(A_t|S_t)\Big]$$

    Four functions. Nothing here is judged by a learning curve: all episodes of a small problem are listed with their
    probabilities, and the *expectation* of what you compute is held against the exact gradient.
    """)
    return


@app.function
def problems():
    """MDPs whose episodes can all be listed, with preferences (S, A)."""
    worlds = [unroll(short_corridor(0.9), 5), unroll(recycling_robot(), 3), tokens(gamma=0.9)]
    return [(m, np.random.default_rng(k).normal(size=(m.n_states, m.n_actions))) for k, m in enumerate(worlds)]


@app.cell(hide_code=True)
def task_1():
    mo.md(r"""
    ## 1. The score of a softmax

    `h` (S, A) holds the preferences, `allowed` (S, A) says which actions exist; $\pi(a|s) \propto e^{h(s,a)}$ over
    the allowed ones. Return $\partial \log\pi(a|s) / \partial h$ for one state `s` and one action `a`, as an
    array (S, A) that is 0 outside row `s` and at actions that do not exist.
    """)
    return


@app.function
def score(h, allowed, s, a):
    """grad log pi(a|s) (S, A)."""
    raise NotImplementedError("yours to write")


@app.function
def test_score():
    for k, (m, h) in enumerate(problems()):
        pi = softmax_policy(m, h)
        for s in np.flatnonzero(~m.terminal)[:6]:
            for a in np.flatnonzero(m.admissible[s]):
                exact = np.zeros(h.shape)
                exact[s] = np.where(m.admissible[s], (np.arange(m.n_actions) == a) - pi[s], 0)
                assert_close(f"the score of (s, a) = ({s}, {a}), problem {k}", score(h, m.admissible, s, a), exact)


@app.cell
def check_1():
    test_score()
    mo.md("**Right.**")
    return


@app.cell(hide_code=True)
def task_2():
    mo.md(r"""
    ## 2. The estimate of one episode

    `states[t]` is $S_t$, `actions[t]` is $A_t$, `rewards[t]` is $R_{t+1}$: three lists of length $T$. Return
    REINFORCE's estimate of $\nabla J$ from this one episode, (S, A). Use your `score`.
    """)
    return


@app.function
def estimate(h, allowed, states, actions, rewards, gamma):
    """sum_t gamma^t G_t grad log pi(A_t|S_t), (S, A)."""
    raise NotImplementedError("yours to write")


@app.function
def test_estimate():
    for k, (m, h) in enumerate(problems()):
        pi, mean = softmax_policy(m, h), np.zeros(h.shape)
        for probability, played in enumerate_trajectories(m, pi):
            states, actions, rewards = list(played.states)[:-1], list(played.actions), list(played.rewards)
            mean = mean + probability * np.asarray(estimate(h, m.admissible, states, actions, rewards, m.gamma))
        assert_close(f"the mean of your estimate, problem {k}", mean, policy_gradient(m, h))


@app.cell
def check_2():
    test_estimate()
    mo.md("**Right.**")
    return


@app.cell(hide_code=True)
def task_3():
    mo.md(r"""
    ## 3. The loss

    The same as a loss to *minimise*, in torch: its gradient on a batch must have the mean $-\nabla J$. `batch.rewards`,
    `batch.mask` and `batch.log_probs` are (N, T), 0 after the end of an episode; `batch.gamma` is a number;
    `batch.group` (N,) says which episodes began in the same start state. Average over the N episodes.
    """)
    return


@app.function
def loss(batch):
    """A scalar; -E[grad loss] = grad J."""
    raise NotImplementedError("yours to write")


@app.function
def judged(your_loss):
    """`audit` lists every batch of two episodes from the same start; off by |expected - exact| / |exact|."""
    m = tokens(gamma=0.9)
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    return audit(your_loss, policy, m, group_size=2)


@app.function
def test_loss():
    found = judged(loss)
    assert found.verdict == "exact", (
        f"your loss is {found.verdict}: its expected gradient is off by {found.relative_error:.3g} of |grad J|, "
        f"cosine {found.cosine:.4f}, scale {found.scale:.4f}"
    )


@app.cell
def check_3():
    test_loss()
    mo.md("**Right.**")
    return


@app.cell(hide_code=True)
def task_4():
    mo.md(r"""
    ## 4. A baseline

    Less variance, no bias: subtract from the return of an episode the mean return of the *other* episodes of its group.
    Your loss must still be exact, and its variance at most that of leave-one-out REINFORCE (RLOO).
    """)
    return


@app.function
def loss_with_a_baseline(batch):
    """A scalar; -E[grad loss] = grad J."""
    raise NotImplementedError("yours to write")


@app.function
def test_loss_with_a_baseline():
    found, rloo = judged(loss_with_a_baseline), judged(named.rloo())
    assert found.verdict == "exact", (
        f"your loss is {found.verdict}: its expected gradient is off by {found.relative_error:.3g} of |grad J|, "
        f"cosine {found.cosine:.4f}, scale {found.scale:.4f}"
    )
    yours, limit = float(found.covariance_trace), float(rloo.covariance_trace) * (1 + 1e-9)
    assert yours <= limit, f"the variance of your estimate is {yours:.6g}; leave-one-out has {limit:.6g}"


@app.cell
def check_4():
    test_loss_with_a_baseline()
    mo.md("**Right.**")
    return


if __name__ == "__main__":
    app.run()
