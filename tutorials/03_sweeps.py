"""Tutorial 3: sweeps, and when they stop. Sutton & Barto (2nd ed.), chapter 4.

marimo run tutorials/03_sweeps.py      in a browser, with sliders
python tutorials/03_sweeps.py          prints the numbers of sections 3 and 5
pytest tutorials/03_sweeps.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Sweeps, and when they stop")

with app.setup:
    from itertools import islice

    import marimo as mo
    import numpy as np
    from course import beside, exercise, row, source, table

    from envs import gridworld_4x4, gridworld_5x5
    from mdp import FiniteMDP, evaluate, solve, sweeps, unroll
    from mdp.plot import board_of, draw_curves, panels, plot_board, styled

    UP = 0
    MOST = 10_000  # sweeps after which this page gives up
    METHODS = ("value_iteration", "policy_iteration", "modified_policy_iteration", "linear_programming")


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # Sweeps, and when they stop

    $$v_{k+1}(s) = \sum_a \pi(a|s) \sum_{s', r} p(s', r|s,a)\, \big[\, r + \gamma\, v_k(s')\, \big],
    \qquad v_0 = 0$$

    This is (4.5) of the book. One such update of all states is a *sweep*. The values $v_1, v_2, \dots$ come closer
    and closer to $v_\pi$, and a program has to stop somewhere. Five questions get a number for an answer:

    1. What is $v_k$, before it is $v_\pi$? (section 2)
    2. The last change is small. How far am I from $v_\pi$? (section 3)
    3. Does a small change mean a small error at $\gamma = 1$? (section 4)
    4. Do all methods find the same $v_*$, and how do I know that they are done? (section 5)
    5. Why does my policy evaluation, or my policy iteration, never stop? (section 6: three causes)

    Notation is that of Sutton & Barto, 2nd edition.
    """)
    return


@app.cell
def the_sliders():
    gamma_slider = mo.ui.slider(
        steps=[0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0], value=1.0, label=r"$\gamma$", show_value=True
    )
    theta_slider = mo.ui.slider(
        steps=[10.0**-k for k in range(1, 17)], value=0.001, label=r"threshold $\theta$", show_value=True
    )
    p_slider = mo.ui.slider(steps=[10.0**-k for k in range(1, 7)], value=1e-4, label="$p$", show_value=True)
    gamma5_slider = mo.ui.slider(
        steps=[0.0, 0.5, 0.8, 0.9, 0.95, 0.99], value=0.9, label=r"$\gamma$", show_value=True
    )
    tolerance_slider = mo.ui.slider(
        steps=[10.0**-k for k in range(1, 15)], value=1e-8, label="`tolerance`", show_value=True
    )
    epsilon_slider = mo.ui.slider(
        steps=[0.0, 0.001, 0.01, 0.1, 0.5, 1.0], value=0.0, label=r"$\varepsilon$", show_value=True
    )
    tie_slider = mo.ui.slider(
        steps=[0.0, 1e-15, 1e-12, 1e-9, 1e-3, 10.0], value=1e-9, label="tie tolerance", show_value=True
    )
    size_slider = mo.ui.slider(steps=[1.0, 1e3, 1e6], value=1.0, label="$R$", show_value=True)
    gamma2_slider = mo.ui.slider(steps=[0.9, 0.95, 0.98, 0.99, 1.0], value=0.99, label=r"$\gamma$", show_value=True)
    other_ties = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other random ties")
    return (
        epsilon_slider, gamma2_slider, gamma5_slider, gamma_slider, other_ties, p_slider, size_slider, theta_slider,
        tie_slider, tolerance_slider,
    )  # fmt: skip


@app.cell
def the_reset_button():
    reset = mo.ui.button(label="reset")
    return (reset,)


@app.cell
def the_step_buttons(reset):
    reset  # a click on it makes the two buttons anew: their counts are 0 again
    step = mo.ui.button(value=0, on_click=lambda n: n + 1, label="one sweep")
    step_10 = mo.ui.button(value=0, on_click=lambda n: n + 10, label="ten sweeps")
    return step, step_10


@app.cell
def values_of_the_controls(gamma_slider, theta_slider):
    gamma, theta = gamma_slider.value, theta_slider.value
    return gamma, theta


@app.cell
def the_number_of_sweeps(step, step_10):  # the values stand in several cells: what depends on one does not wait for all
    k = step.value + step_10.value
    return (k,)


@app.cell
def values_of_section_4(p_slider):
    p = p_slider.value
    return (p,)


@app.cell
def values_of_section_5(gamma5_slider, tolerance_slider):
    gamma5, tolerance = gamma5_slider.value, tolerance_slider.value
    return gamma5, tolerance


@app.cell
def values_of_the_first_cause(epsilon_slider):
    epsilon = epsilon_slider.value
    return (epsilon,)


@app.cell
def values_of_the_second_cause(other_ties, tie_slider):
    seed, tie = other_ties.value, tie_slider.value
    return seed, tie


@app.cell
def values_of_the_third_cause(gamma2_slider, size_slider):
    gamma2, size = gamma2_slider.value, size_slider.value
    return gamma2, size


@app.function
def sweep(m, pi, v):
    q = m.backup(v)  # r(s,a) + gamma sum_s' p(s'|s,a) v(s')
    return (pi * q).sum(axis=1)


@app.function
def after(m, pi, k):
    """v_k."""
    return next(islice(sweeps(m, pi), k, None))


@app.function
def greedy(m, v):
    """Every action that looks best by v, all equally likely."""
    q = m.backup(v)
    best = q >= q.max(axis=1, keepdims=True) - 1e-9
    return best / best.sum(axis=1, keepdims=True)


@app.cell
def the_grid(gamma):
    m = gridworld_4x4(gamma)
    pi = m.uniform_policy()
    v_pi = evaluate(m, pi).v
    return m, pi, v_pi


@app.cell
def the_first_best(m, pi):
    # the first k from which on, as far as was looked, every greedy action of v_k is optimal
    _best = solve(m).optimal_actions | m.terminal[:, None]
    _right = [bool(_best[greedy(m, v) > 0].all()) for v in islice(sweeps(m, pi), 51)]
    first_best = len(_right) - [*_right[::-1], False].index(False)
    return (first_best,)


@app.cell(hide_code=True)
def show_the_sweeps(first_best, gamma, gamma_slider, k, m, pi, reset, step, step_10, v_pi):
    _v = after(m, pi, k)
    mo.vstack([
        mo.md(r"""
    ## 1. The grid, sweep by sweep

    Example 4.1 of the book: every step pays $-1$ until a framed corner is reached, a step off the grid stays where it
    is, and the policy is equiprobable. States are numbered row by row: state 1 is right of the upper left corner. In
    code a sweep is two lines, and the package's `sweeps(m, pi)` gives $v_0, v_1, v_2, \dots$ without end.
    """),
        beside(r"v_{k+1}(s) = \sum_a \pi(a|s) \underbrace{\Big[ r(s,a) + \gamma \sum_{s'} p(s'|s,a)\, v_k(s') "
               r"\Big]}_{q(s,a)}", sweep),
        row(step, step_10, reset, gamma_slider),
        mo.md(f"""
    After **{k}** sweeps: v_{k}(1) = **{_v[1]:.10f}**. The limit is {v_pi[1]:.10f}. Left: $v_k$. Right: all actions
    that look best by $v_k$, as in the right column of Figure 4.1.
    """),
        plot_board(m, board_of(m), v=_v, policy=greedy(m, _v), title=rf"after {k} sweeps, $\gamma$ = {gamma:g}"),
        table({
            "state": ["1", "2", "3", "6"],
            **{rf"$v_{{{j}}}$": [f"{x:.10f}" for x in after(m, pi, j)[[1, 2, 3, 6]]] for j in (1, 2, 3, 10)},
            r"$v_\pi$": [f"{x:.10f}" for x in v_pi[[1, 2, 3, 6]]],
        }),
        mo.md(rf"""
    Long before the values are right, the arrows are: from sweep {first_best} on, every action that looks best *is*
    best, at this $\gamma$. Whoever needs only a better policy may stop early. Whoever needs the values may not.
    """),
    ])  # fmt: skip
    return


@app.function
def cut_after(m, pi, k):
    """The exact value of the episodes of m that are broken off after k steps."""
    return evaluate(unroll(m, k), np.tile(pi, (k + 1, 1))).v[: m.n_states]  # the states (0, s) come first


@app.cell(hide_code=True)
def show_what_v_k_is(gamma, gamma_slider, m, pi):
    _rows = [(j, after(m, pi, j), cut_after(m, pi, j)) for j in (1, 2, 3, 10)]
    mo.vstack([
        mo.md(r"""
    ## 2. What is $v_k$, before it is $v_\pi$?

    It is exact, for another problem: $v_k(s)$ is the expected return of the first $k$ steps from $s$. The package's
    `unroll(m, k)` makes that problem, with states $(t, s)$ and an end after $k$ steps. `evaluate` solves its linear
    system. No sweep is involved, and the same numbers come:
    """),
        row(gamma_slider),
        table({
            "$k$": [j for j, _, _ in _rows],
            rf"sweeps: $v_k(1)$, $\gamma = {gamma:g}$": [f"{v[1]:.10f}" for _, v, _ in _rows],
            "`unroll(m, k)`, state 1": [f"{u[1]:.10f}" for _, _, u in _rows],
            "largest difference, all states": [f"{np.abs(u - v).max():.1e}" for _, v, u in _rows],
        }),
        source(cut_after),
        mo.md(r"""
    So what a sweep too few leaves out are the rewards after step $k$. With $\gamma < 1$ they are discounted by
    $\gamma^k$ or more. With $\gamma = 1$ they are small only if the episode has probably ended by then.
    """),
    ])
    return


@app.function
def changes(m, pi, most=MOST):
    """max |v_k - v_{k-1}| for k = 1, 2, ...; nothing follows a change of exactly 0."""
    before, found = None, []
    for v in islice(sweeps(m, pi), most + 1):
        if before is not None:
            found.append(np.abs(v - before).max())
            if found[-1] == 0:
                break
        before = v
    return np.array(found)


@app.function
def stops_at(change, theta):
    """The first k with a change below theta; None where there is none."""
    below = np.flatnonzero(change < theta)
    return int(below[0]) + 1 if len(below) else None


@app.cell
def the_stop(gamma, m, pi, theta, v_pi):
    change = changes(m, pi)
    stop = stops_at(change, theta)
    last = change[stop - 1]
    error = np.abs(after(m, pi, stop) - v_pi).max()
    longest = -v_pi.min()  # the largest n(s): every step pays -1
    by_gamma = gamma / (1 - gamma) * last if gamma < 1 else np.inf
    by_time = (longest - 1) * last
    if mo.app_meta().mode == "script":
        print(f"gamma {gamma:g}, theta {theta:g}: stops at sweep {stop}, change {last:.3e}, error {error:.3e}")
    return by_gamma, by_time, change, error, last, longest, stop


@app.cell(hide_code=True)
def show_the_stop(
    by_gamma, by_time, change, error, gamma, gamma_slider, last, longest, m, pi, stop, theta, theta_slider, v_pi
):
    mo.vstack([
        mo.md(r"""
    ## 3. The last change is small. How far am I from $v_\pi$?

    The book's loop ends when $\Delta = \max_s |v_k(s) - v_{k-1}(s)|$ falls below a threshold $\theta$. $\Delta$ is one
    step; the error is the sum of all the steps that are still to come. Each is at most $\gamma$ times the one before:

    $$\max_s |v_\pi(s) - v_k(s)| \;\le\; \gamma \Delta + \gamma^2 \Delta + \dots
      \;=\; \frac{\gamma}{1 - \gamma}\, \Delta$$

    At $\gamma = 1$ this says nothing: the bound is infinite. What helps there is that episodes end. Let $n(s)$ be the
    expected number of steps from $s$ to the end, a step at time $t$ counted $\gamma^t$. Then

    $$v_\pi - v_k = (I - \gamma P_\pi)^{-1}\, \gamma P_\pi\, (v_k - v_{k-1}), \qquad
      \max_s |v_\pi(s) - v_k(s)| \;\le\; \big(\max_s n(s) - 1\big)\, \Delta$$

    Without terminal states $n = 1 / (1 - \gamma)$, and this is the first bound again. On our grid each step pays $-1$,
    so $n(s) = -v_\pi(s)$.
    """),
        row(gamma_slider, theta_slider),
        table({
            rf"$\gamma = {gamma:g}$, $\theta$ = {theta:g}": [
                "stops after sweep",
                r"last change $\Delta$",
                "true error",
                r"bound $\gamma \Delta / (1 - \gamma)$",
                r"bound $(\max n - 1)\, \Delta$",
                r"true error / $\Delta$",
            ],
            "value": [
                stop,
                f"{last:.6e}",
                f"{error:.6e}",
                f"{by_gamma:.6e}",
                f"{by_time:.6e}",
                f"{error / last:.3f}" if last > 0 else "0 / 0",
            ],
        }),
        draw_the_errors(m, pi, v_pi, change, gamma, longest, stop),
        mo.md(rf"""
    Here $\max n$ = {longest:.4f}. Move $\gamma$ to 0.99: the first bound is 99 times the change. At $\gamma = 1$ the
    change must be multiplied by 21, since the longest expected episode takes 22 steps.

    How small can a threshold be? Here $v_k$ only ever falls, and there are finitely many numbers in float64, so there
    comes a sweep that changes nothing at all. At this $\gamma$ it is sweep {len(change)}: every $\theta > 0$ stops. The
    loop `while delta >= theta` with $\theta = 0$ never does.
    """),
        source(changes, stops_at),
    ])
    return


@app.function
def lottery(p, gamma=1.0):
    """Play until you win: with probability p the prize 1 and the end."""
    return FiniteMDP.from_outcomes({("play", "draw"): [(p, "won", 1.0), (1 - p, "play", 0.0)]}, gamma=gamma)


@app.cell
def the_lottery(p, theta):
    _m = lottery(p)
    lottery_changes = changes(_m, _m.uniform_policy())
    lottery_stop = stops_at(lottery_changes, theta)
    _k = lottery_stop or MOST
    lottery_v = after(_m, _m.uniform_policy(), _k)[0]
    lottery_last = lottery_changes[_k - 1]
    lottery_truth = evaluate(_m, _m.uniform_policy()).v[0]
    return lottery_last, lottery_stop, lottery_truth, lottery_v


@app.cell(hide_code=True)
def show_the_lottery(lottery_last, lottery_stop, lottery_truth, lottery_v, p, p_slider, theta, theta_slider):
    mo.vstack([
        mo.md(r"""
    ## 4. Does a small change mean a small error at $\gamma = 1$?

    No. Take a lottery with one state: you draw until you win, the prize is 1, a draw wins with probability $p$. You
    surely win in the end, so $v_\pi = 1$. The sweeps are $v_k = 1 - (1 - p)^k$, and the first change is only $p$.
    """),
        row(p_slider, theta_slider),
        table({
            f"$p$ = {p:g}, $\\theta$ = {theta:g}": [
                "stops after sweep",
                r"last change $\Delta$",
                "$v_k$",
                r"$v_\pi$",
                "true error",
                r"$(n - 1)\, \Delta$ with $n = 1 / p$",
            ],
            "value": [
                f"{lottery_stop:,}" if lottery_stop else f"not within {MOST:,}",
                f"{lottery_last:.3e}",
                f"{lottery_v:.10f}",
                f"{lottery_truth:.10f}",
                f"{lottery_truth - lottery_v:.10f}",
                f"{(1 / p - 1) * lottery_last:.10f}",
            ],
        }),
        mo.md(r"""
    Whenever $\theta > p$, the loop ends at once with nearly 0 where the truth is 1. The last row is the bound of
    section 3; with a single state it is the error itself. A change without the length of the episodes proves nothing.
    """),
        source(lottery),
    ])
    return


@app.cell
def the_four_methods(gamma5, tolerance):
    grid5 = gridworld_5x5(gamma5)
    v_A = 10 / (1 - gamma5**5)  # from A to A again takes five steps, and pays 10 on the first
    solutions = {name: solve(grid5, method=name, tolerance=tolerance) for name in METHODS}
    if mo.app_meta().mode == "script":
        for _name, _found in solutions.items():
            print(f"{_name}: v*(A) = {_found.v[1]:.10f}, bound {_found.bound:.1e}, converged {_found.converged}")
    return grid5, solutions, v_A


@app.cell(hide_code=True)
def show_the_four_methods(gamma5, gamma5_slider, solutions, tolerance, tolerance_slider, v_A):
    mo.vstack([
        mo.md(r"""
    ## 5. Do all methods find the same $v_*$?

    With a maximum in the place of the policy, a sweep is *value iteration* (4.10):
    $v_{k+1}(s) = \max_a q(s,a)$. *Policy iteration* solves the linear system of a policy, improves it, and so on.
    *Modified* policy iteration makes a few sweeps in the place of the solve. A *linear program* looks for the least
    $v$ with $v(s) \ge q(s,a)$ for all pairs. The package's `solve(m, method=...)` has all four.

    The problem is the 5 x 5 grid of Example 3.8. There we know the truth at one state: the best way from A jumps, is
    paid 10, and is back in A after five steps. So $v_*(A) = 10 / (1 - \gamma^5)$.
    """),
        row(gamma5_slider, tolerance_slider),
        table({
            rf"$\gamma = {gamma5:g}$, `tolerance` {tolerance:g}": list(solutions),
            "$v_*(A)$": [f"{found.v[1]:.10f}" for found in solutions.values()],
            "iterations": [found.iterations for found in solutions.values()],
            "true error at A": [f"{abs(found.v[1] - v_A):.1e}" for found in solutions.values()],
            "`bound`": [f"{found.bound:.1e}" for found in solutions.values()],
            "`converged`": [found.converged for found in solutions.values()],
        }),
        mo.md(rf"""
    Closed form: $v_*(A)$ = **{v_A:.10f}**. `bound` is proven: no state's value is further from $v_*$, rounding
    included. `converged` means `bound <= tolerance`, and nothing else. Set the tolerance to 1e-14. The values hardly
    change, and `converged` is False: float64 cannot prove that many digits of a number near {v_A:.0f}. A method that
    ended is not the same as a method that converged. Set $\gamma$ to 0.99: value iteration needs about ten times as
    many sweeps as at 0.9, policy iteration as many rounds as before.
    """),
    ])
    return


@app.function
def stubborn(m, epsilon):
    """Always up; with probability epsilon an action at random in its place."""
    return (1 - epsilon) * np.eye(m.n_actions)[np.full(m.n_states, UP)] + epsilon * m.uniform_policy()


@app.cell
def the_stubborn_policy(epsilon, m):
    never = stubborn(m, epsilon)
    try:
        never_v, refused = evaluate(m, never).v[3], ""
    except ValueError as e:
        never_v, refused = None, str(e)
    return never, never_v, refused


@app.cell(hide_code=True)
def show_the_policy_that_never_ends(
    epsilon, epsilon_slider, gamma, gamma_slider, m, never, never_v, refused
):
    _ks = (10, 100, 1000)
    mo.vstack([
        mo.md(r"""
    ## 6. Why does my policy evaluation, or my policy iteration, never stop?

    Three causes, each with a number.

    ### First cause: a policy that never ends, at $\gamma = 1$

    "Always up" on the grid of section 1. From the upper right corner it bumps into the wall for ever and pays 1 for
    each attempt. Many programs start policy iteration with exactly this policy: action 0 everywhere. With probability
    $\varepsilon$ we let it take a random action.
    """),
        row(epsilon_slider, gamma_slider),
        table({
            rf"state 3, $\varepsilon$ = {epsilon:g}, $\gamma$ = {gamma:g}": [
                *(f"$v_{{{j}}}$" for j in _ks), r"$v_\pi$ (`evaluate`)"
            ],
            "value": [
                *(f"{after(m, never, j)[3]:.6f}" for j in _ks),
                "refused" if never_v is None else f"{never_v:.6f}",
            ],
        }),
        mo.md(
            f"Every sweep subtracts 1 and none will be the last. `evaluate` refuses, and says where:\n\n> {refused}"
            if refused
            else r"""
    Now there is a limit. At $\gamma = 1$ it is far away where $\varepsilon$ is small, and the sweeps need a long time
    to get there: see $v_{1000}$. Set $\varepsilon = 0$ and $\gamma = 1$ to see that `evaluate` has no answer then.
    """
        ),
        mo.md(r"""
    Remedies: start from a policy that ends (the equiprobable one), or take $\gamma < 1$, or give the episode a time
    limit with `unroll`.
    """),
    ])  # fmt: skip
    return


@app.function
def rounds(m, tie=None, rng=None, most=1000):
    """Policy iteration "until no action changes": (rounds, actions), rounds None if that does not come.

    Ties fall to the first action or, with rng, to a random one. tie: an action stays while none is better by more.
    """
    s, actions = np.arange(m.n_states), evaluate(m, m.uniform_policy()).q.argmax(axis=1)
    for n in range(1, most + 1):
        q = evaluate(m, np.eye(m.n_actions)[actions]).q
        best = q.max(axis=1)
        improved = q.argmax(axis=1) if rng is None else ((q == best[:, None]) * rng.random(q.shape)).argmax(axis=1)
        if tie is not None:
            improved = np.where(q[s, actions] >= best - tie, actions, improved)
        if (improved == actions)[~m.terminal].all():
            return n, actions
        actions = improved
    return None, actions


@app.function
def best_policies(m):
    """How many deterministic policies are greedy with respect to v_*."""
    return int(np.prod(solve(m).optimal_actions.sum(axis=1)[~m.terminal]))


@app.cell
def random_ties(seed):
    _m = gridworld_4x4()
    flips = rounds(_m, rng=np.random.default_rng(seed))[0]
    keeps = rounds(_m, tie=1e-9, rng=np.random.default_rng(seed))[0]
    ways = best_policies(_m)
    return flips, keeps, ways


@app.cell
def rounding_ties(tie):
    flip_rows = []
    for _gamma in (0.5, 0.8, 0.9, 0.95, 0.99):
        _m = gridworld_5x5(_gamma)
        _kept, _actions = rounds(_m, tie=tie, most=100)
        _lost = (solve(_m).v - evaluate(_m, np.eye(4)[_actions]).v).max()
        flip_rows.append((_gamma, rounds(_m, most=100)[0], _kept, _lost))
    return (flip_rows,)


@app.cell(hide_code=True)
def show_the_flips(flip_rows, flips, keeps, other_ties, seed, tie, tie_slider, ways):
    mo.vstack([
        mo.md(r"""
    ### Second cause: policy iteration flips between tied actions

    "Until no action changes" is the book's test for the end of policy iteration. Where two actions are equally good,
    an improvement may swap one for the other, and back, for ever: no action is better, yet one has changed (Exercise
    4.4). On the 4 x 4 grid, $\gamma = 1$, all values are integers and the ties are exact. Break them at random:
    """),
        row(other_ties),
        table({
            f"4 x 4 grid, seed {seed}": ["ties at random", "keep an action that is tied"],
            "rounds until no action changes": ["more than 1,000" if flips is None else flips, keeps],
            "exact mean": [ways, ""],
            "exact standard deviation": [np.sqrt(ways * (ways - 1.0)), ""],
        }),
        mo.md(rf"""
    The optimal actions can be combined into {ways} deterministic policies. The first improvement has found one of them,
    and each later round draws one of the {ways} at random. The program ends when it draws the same one twice in a row:
    after {ways} rounds on average. With ten more tied states it would be {ways * 2**10:,}.

    Taking the *first* of the best actions does not cure it, because rounding decides which actions are exactly equal,
    and each policy's linear system rounds in another way. On the 5 x 5 grid:
    """),
        row(tie_slider),
        table({
            r"5 x 5 grid, $\gamma$": [f"{g:g}" for g, *_ in flip_rows],
            "first of the best: rounds": ["more than 100" if n is None else n for _, n, _, _ in flip_rows],
            f"keep within {tie:g}: rounds": ["more than 100" if n is None else n for _, _, n, _ in flip_rows],
            "largest loss of the policy kept": [f"{x:.1e}" for *_, x in flip_rows],
        }),
        mo.md(r"""
    "More than 100" means that it goes round in a circle. The remedy is one line: an action stays unless another one is
    better by more than a *tie tolerance*, some orders above rounding. Too large a tolerance stops too early, and the
    last column is what that costs. `solve` does the same, with a tolerance that follows from the size of the numbers.
    """),
        source(rounds),
    ])
    return


@app.function
def ping_pong(size, gamma):
    """Two states for ever: +size on the way out, -size on the way back."""
    return FiniteMDP.from_outcomes(
        {("ping", "go"): [(1.0, "pong", size)], ("pong", "go"): [(1.0, "ping", -size)]}, gamma=gamma
    )


@app.cell
def the_ping_pong(gamma2, size):
    _m = ping_pong(size, gamma2)
    ping_changes = changes(_m, _m.uniform_policy(), 5000)
    _v, _, _two_later = islice(sweeps(_m, _m.uniform_policy()), 5000, 5003)
    ping_v, ping_returns = _v[0], bool((_v == _two_later).all())
    return ping_changes, ping_returns, ping_v


@app.cell(hide_code=True)
def show_the_ping_pong(gamma2, gamma2_slider, ping_changes, ping_returns, ping_v, size, size_slider):
    _thetas = [10.0**-j for j in (3, 6, 9, 12, 15)]
    _stops = [stops_at(ping_changes, theta) for theta in _thetas]
    mo.vstack([
        mo.md(r"""
    ### Third cause: a threshold below rounding

    Two states, one action each: the way out pays $+R$, the way back $-R$. So $v_\pi = R / (1 + \gamma)$ in the first
    state. One sweep takes the values of the two states from each other. One of them comes from above and the other from
    below, they round differently, and in the end they take turns.
    """),
        row(size_slider, gamma2_slider),
        table({
            rf"$\theta$, at $R$ = {size:,.0f}, $\gamma$ = {gamma2:g}": [f"{theta:g}" for theta in _thetas],
            "stops after sweep": [n or f"not within {len(ping_changes):,}" for n in _stops],
        }),
        mo.md(
            rf"""
    The change in sweep {len(ping_changes):,} is **{ping_changes[-1]:.2e}**. Are the values two sweeps later the same,
    bit by bit? {ping_returns}: so it goes on like this for ever, and a smaller threshold is never met. The value is
    {ping_v:.10f}, the closed form {size / (1 + gamma2):.10f}, and one unit in its last place is
    {np.spacing(size / (1 + gamma2)):.1e}. The change that remains grows with $R$: a threshold has to be relative to the
    size of the values. `solve` knows its rounding. It ends, and `converged` says whether the tolerance was reached.
    """
            if gamma2 < 1
            else rf"""
    At $\gamma = 1$ the values are $R, 0, R, 0, \dots$: the change is **{ping_changes[-1]:.2e}** in every sweep. This is
    the first cause again, an episode that never ends.
    """
        ),
        source(ping_pong),
    ])
    return


@app.function
def in_place(m, pi, theta):
    """The sweeps that the book's loop needs with one array: new values are used in the sweep that found them."""
    P = m.transition.toarray().reshape(m.n_states, m.n_actions, m.n_states)
    P_pi, r_pi = np.einsum("sa,sat->st", pi, P), (pi * m.expected_reward).sum(axis=1)
    v, k, delta = np.zeros(m.n_states), 0, np.inf
    while delta >= theta:
        k, before = k + 1, v.copy()
        for s in np.flatnonzero(~m.terminal):
            v[s] = r_pi[s] + m.gamma * P_pi[s] @ v
        delta = np.abs(v - before).max()
    return k, v


@app.function
def enough(gamma, largest_reward, accuracy):
    """k with gamma^k max|r| / (1 - gamma) <= accuracy: all that is left out after k steps."""
    return int(np.ceil(np.log(accuracy * (1 - gamma) / largest_reward) / np.log(gamma)))


@app.function
def first_within(m, pi, accuracy):
    """The first k with max |v_pi - v_k| <= accuracy."""
    v_pi = evaluate(m, pi).v
    return next(k for k, v in enumerate(sweeps(m, pi)) if np.abs(v - v_pi).max() <= accuracy)


@app.function
def first_values():
    """v_k(1), k = 1, 2, 3, from the values above (the wall), right (2), below (5) and left (the end)."""
    v1 = -1.0
    v2 = -1 + (v1 + v1 + v1 + 0) / 4
    v2_inside = -2.0  # states 2 and 5 have no neighbour at the end: -1 + (-1 - 1 - 1 - 1) / 4
    v3 = -1 + (v2 + v2_inside + v2_inside + 0) / 4
    return v1, v2, v3


@app.cell(hide_code=True)
def exercises():
    _m = gridworld_4x4()
    _pi = _m.uniform_policy()
    _five = gridworld_5x5(0.9)
    _two, _one = stops_at(changes(_m, _pi), 1e-6), in_place(_m, _pi, 1e-6)
    mo.vstack([
        mo.md("## 7. Exercises"),
        exercise(
            1,
            r"""*Three sweeps by hand.* The 4 x 4 grid, $\gamma = 1$. What are $v_1(1)$, $v_2(1)$ and $v_3(1)$? (The
    book prints them with two digits. State 1 has the end on its left, state 2 on its right, state 5 below it.)""",
            table({"": ["$v_1(1)$", "$v_2(1)$", "$v_3(1)$"],
                   "by hand": first_values(),
                   "`sweeps`": [after(_m, _pi, j)[1] for j in (1, 2, 3)]}),
            source(first_values),
        ),
        exercise(
            2,
            r"""*How many sweeps are enough?* The 5 x 5 grid, $\gamma = .9$, equiprobable policy; no reward
    is larger than 10. Find a $k$, before any sweep is made, after which no state is off by more than .001. Which $k$
    would have done?""",
            r"""What $v_k$ leaves out is at most $\gamma^k\, 10 / (1 - \gamma)$. The bound is safe, and pessimistic:
    a policy at random rarely earns 10.""",
            table({"": ["enough for any policy", "the first that does"],
                   "$k$": [enough(0.9, 10, 0.001), first_within(_five, _five.uniform_policy(), 0.001)]}),
            source(enough, first_within),
        ),
        exercise(
            3,
            r"""*One array or two?* The book's loop overwrites $v$ in place. Count its sweeps on the 4 x 4 grid at
    $\gamma = 1$, $\theta$ = 1e-6, and compare with `sweeps`, which keeps the old array until the sweep is done.""",
            table({r"$\theta$ = 1e-6": ["two arrays (`sweeps`)", "in place"],
                   "sweeps": [_two, _one[0]],
                   "true error": [f"{np.abs(after(_m, _pi, _two) - evaluate(_m, _pi).v).max():.2e}",
                                  f"{np.abs(_one[1] - evaluate(_m, _pi).v).max():.2e}"]}),
            f"""In place takes {_one[0] / _two:.2f} times as many. The limit is the same, the $v_k$ on the way are not:
    they are no longer values of episodes of $k$ steps.""",
            source(in_place),
        ),
    ])  # fmt: skip
    return


@app.function
@styled
def draw_the_errors(m, pi, v_pi, change, gamma, longest, stop):
    """Change, true error and both bounds, sweep by sweep, down to rounding."""
    figure, (axes,) = panels(1, width=9.5, height=3.9)
    K = max(12, min(len(change), 2 * stop, 400))
    k = np.arange(1, K + 1)
    d = np.append(change, np.zeros(K))[:K]
    error = [np.abs(v - v_pi).max() for v in islice(sweeps(m, pi), 1, K + 1)]
    curves = {r"last change $\Delta$": d, "true error": error, r"$(\max n - 1)\, \Delta$": (longest - 1) * d}
    if 0 < gamma < 1:
        curves[r"$\gamma \Delta / (1 - \gamma)$"] = gamma / (1 - gamma) * d
    kinds = dict(zip(curves, ("other", "exact", "scaled", "biased"), strict=False))
    seen = {name: np.where(np.asarray(y) > 1e-17, y, np.nan) for name, y in curves.items()}
    draw_curves(axes, k, seen, kinds=kinds, xlabel="sweep $k$", yscale="log", title=rf"$\gamma$ = {gamma:g}")
    axes.axvline(stop, color="black", ls=":", lw=1.5)
    axes.annotate(f"stops at {stop}", (stop, 1), xycoords=("data", "axes fraction"), xytext=(5, -14),
                  textcoords="offset points", fontsize=10)  # fmt: skip
    return figure


@app.function
def test_the_books_sweeps():
    m = gridworld_4x4()
    pi = m.uniform_policy()
    for k, expected in ((1, -1.0), (2, -1.75), (3, -2.4375), (10, -6.1379699707)):
        assert abs(after(m, pi, k)[1] - expected) < 1e-9
    assert np.allclose(evaluate(m, pi).v[[1, 5, 2, 3]], [-14, -18, -20, -22], rtol=0, atol=1e-9)
    v = after(m, pi, 7)
    assert np.allclose(sweep(m, pi, v), after(m, pi, 8), rtol=0, atol=1e-12)


@app.function
def test_a_sweep_is_a_step_of_an_episode_that_is_cut():
    for gamma in (0.0, 0.9, 1.0):
        m = gridworld_4x4(gamma)
        for k in (1, 4):
            assert np.allclose(cut_after(m, m.uniform_policy(), k), after(m, m.uniform_policy(), k), rtol=0, atol=1e-10)


@app.function
def test_the_lottery_stops_too_early():
    m = lottery(1e-4)
    change = changes(m, m.uniform_policy(), 100)
    assert stops_at(change, 0.001) == 1
    assert np.allclose(change, 1e-4 * (1 - 1e-4) ** np.arange(100), rtol=1e-9)
    assert abs(evaluate(m, m.uniform_policy()).v[0] - 1) < 1e-9


@app.function
def test_four_methods_one_answer():
    for gamma in (0.5, 0.9):
        for method in METHODS:
            assert abs(solve(gridworld_5x5(gamma), method=method).v[1] - 10 / (1 - gamma**5)) < 1e-8
    assert abs(solve(gridworld_5x5(0.9)).v[1] - 24.4194280970) < 1e-9


@app.function
def test_ties():
    assert best_policies(gridworld_4x4()) == 256
    for gamma in (0.9, 0.95):
        m = gridworld_5x5(gamma)
        n, actions = rounds(m, tie=1e-9, most=20)
        assert n is not None
        assert np.allclose(evaluate(m, np.eye(4)[actions]).v, solve(m).v, rtol=0, atol=1e-9)


@app.function
def test_solutions():
    assert np.allclose(first_values(), [-1, -1.75, -2.4375], rtol=0, atol=0)
    m = gridworld_5x5(0.9)
    k = enough(0.9, 10, 0.001)
    assert 0.9**k * 100 <= 0.001 < 0.9 ** (k - 1) * 100
    assert first_within(m, m.uniform_policy(), 0.001) <= k
    assert np.abs(in_place(gridworld_4x4(), gridworld_4x4().uniform_policy(), 1e-9)[1].min() + 22) < 1e-6


if __name__ == "__main__":
    app.run()
