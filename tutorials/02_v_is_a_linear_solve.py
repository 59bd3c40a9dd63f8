"""Tutorial 2: v_pi is a linear solve. Sutton & Barto (2nd ed.), sections 3.3 to 3.5 and 4.1.

marimo run tutorials/02_v_is_a_linear_solve.py      in a browser, with sliders
python tutorials/02_v_is_a_linear_solve.py          runs all cells, prints nothing
pytest tutorials/02_v_is_a_linear_solve.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="v is a linear solve")

with app.setup:
    from textwrap import fill

    import marimo as mo
    import numpy as np
    from course import beside, exercise, row, source, table

    from envs import gridworld_5x5, random_walk, short_corridor
    from mdp import FiniteMDP, Simulator, evaluate, occupancy, return_variance
    from mdp.plot import board_of, color_of, draw_curves, draw_estimates, panels, plot_board, styled

    UP, RIGHT = 0, 1
    A = (0, 1)  # the state A of Example 3.5: row 0, column 1
    REPEATS = 20  # means that are drawn, each of N returns
    CUT = 1e-6  # episodes are left when no more than this can be missing in the return


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # $v_\pi$ is a linear solve

    $$v_\pi(s) = \mathbb{E}_\pi[G_t \mid S_t = s], \qquad
    v_\pi = r_\pi + \gamma P_\pi v_\pi \quad\Longrightarrow\quad v_\pi = (I - \gamma P_\pi)^{-1}\, r_\pi$$

    The value of a state is an expectation over all episodes that may follow, infinitely many. It is also the solution
    of a system of linear equations, one for each state: three lines of code. Three questions get a number for an
    answer:

    1. Is $G_t$ an expectation? (section 3)
    2. Reward 0 everywhere with terminal value 1: is that the same as a reward 1 at the end? (section 4)
    3. What does $\gamma = 1$ need? (section 5)

    Notation is that of Sutton & Barto, 2nd edition.
    """)
    return


@app.cell
def the_controls():
    gammas = [*(k / 10 for k in range(10)), 0.95, 0.99]
    gamma_slider = mo.ui.slider(steps=gammas, value=0.9, label=r"$\gamma$", show_value=True)
    up_slider = mo.ui.slider(
        steps=[k / 20 for k in range(21)], value=0.25, label=r"$\pi(\text{up}|s)$", show_value=True
    )
    state_slider = mo.ui.slider(0, 24, value=1, label="state (5 row + column)", show_value=True)
    returns_slider = mo.ui.slider(steps=[5, 10, 20, 50, 100], value=50, label="returns $N$", show_value=True)
    redraw = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other episodes")
    twentieths = [k / 20 for k in range(21)]
    walk_slider = mo.ui.slider(steps=twentieths, value=0.9, label=r"$\gamma$", show_value=True)
    coin_slider = mo.ui.slider(steps=twentieths, value=0.5, label=r"$p = \pi(\text{right}|s)$", show_value=True)
    return coin_slider, gamma_slider, redraw, returns_slider, state_slider, up_slider, walk_slider


@app.cell
def values_of_the_controls(gamma_slider, up_slider):
    gamma, up = gamma_slider.value, up_slider.value
    return gamma, up


@app.cell
def value_of_the_state(state_slider):
    s = state_slider.value  # a cell of its own, as those below: what does not depend on it is not made anew
    return (s,)


@app.cell
def values_of_the_sample(redraw, returns_slider):
    N, seed = returns_slider.value, redraw.value
    return N, seed


@app.cell
def value_of_the_walk(walk_slider):
    walk_gamma = walk_slider.value
    return (walk_gamma,)


@app.cell
def value_of_the_coin(coin_slider):
    p = coin_slider.value
    return (p,)


@app.function
def chain(m, pi):
    """P_pi(s'|s) = sum over a of pi(a|s) p(s'|s,a), (S, S), and r_pi(s) = sum over a of pi(a|s) r(s,a), (S,)."""
    P = m.transition.toarray().reshape(m.n_states, m.n_actions, m.n_states)
    return np.einsum("sa,sat->st", pi, P), (pi * m.expected_reward).sum(axis=1)


@app.function
def v_of(m, pi):
    """v_pi, (S,)."""
    P, r = chain(m, pi)
    I = np.eye(m.n_states)
    return np.linalg.solve(I - m.gamma * P, r)


@app.cell
def the_gridworld(gamma, up):
    m = gridworld_5x5(gamma)
    pi = np.tile([up, *[(1 - up) / 3] * 3], (25, 1))  # up; right, down, left
    v, q, J = evaluate(m, pi)
    v_numpy = v_of(m, pi)
    return J, m, pi, q, v, v_numpy


@app.cell(hide_code=True)
def show_the_gridworld(gamma, gamma_slider, m, pi, up_slider, v, v_numpy):
    mo.vstack([
        mo.md(r"""
    ## 1. Twenty-five equations

    The gridworld of Example 3.5. A step that would leave the grid stays, and pays $-1$. In state A = (0, 1) every
    action pays 10 and leads to (4, 1); in state B = (0, 3) every action pays 5 and leads to (2, 3). All else pays 0.
    The task never ends. At first every action has the probability 1/4; the second slider changes that of *up*, and the
    other three share the rest.
    """),
        row(gamma_slider, up_slider),
        plot_board(m, board_of(m), v=v, policy=pi),
        mo.md(r"""
    A value is a reward and what comes after it. Written for all 25 states at once, with $P_\pi$ the matrix of steps
    from state to state and $r_\pi$ the vector of expected rewards:
    """),
        source(chain),
        beside(r"v_\pi = (I - \gamma P_\pi)^{-1}\, r_\pi", v_of),
        mo.md("The package solves the same system with a sparse matrix. Row 0 of the board:"),
        table({
            "$s$": [f"(0, {j})" for j in range(5)],
            "three lines of numpy": [f"{x:.10f}" for x in v_numpy[:5]],
            "`evaluate(m, pi).v`": [f"{x:.10f}" for x in v[:5]],
            "difference": [f"{x:.1e}" for x in (v_numpy - v)[:5]],
        }),
        mo.md(f"""
    The largest difference of all 25 is {np.abs(v_numpy - v).max():.1e}. With $\\gamma = .9$ and 1/4 for each action
    this is Figure 3.2 of the book, which prints 3.3, 8.8, 4.4, 5.3, 1.5. Why is A worth less than the 10 that it pays
    at once? Its equation has one term only: $v(A) = 10 + \\gamma\\, v(4, 1)$, here 10 + {gamma:g} times
    {v[21]:.6f} = {10 + gamma * v[21]:.6f}, and the lower edge is a bad place: many steps bump into it.
    """),
    ])
    return


@app.function
def three_routes(m, pi):
    """J by v, by q, and by the rewards where the agent is: start . v, start . sum_a pi q, eta . r_pi."""
    v, q, _ = evaluate(m, pi)
    _, r = chain(m, pi)
    return [m.start @ v, m.start @ (pi * q).sum(axis=1), occupancy(m, pi) @ r]


@app.cell(hide_code=True)
def show_one_equation(J, gamma, gamma_slider, m, pi, q, s, state_slider, up_slider, v):
    label = m.states[s]
    after = [m.outcomes(label, a)[0] for a in m.actions]
    routes = three_routes(m, pi)
    mo.vstack([
        mo.md(r"""
    ## 2. $v$, $q$ and $J$

    One equation of the 25, taken apart:
    $v_\pi(s) = \sum_a \pi(a|s)\, q_\pi(s,a)$ with $q_\pi(s,a) = r(s,a) + \gamma \sum_{s'} p(s'|s,a)\, v_\pi(s')$.
    State 1 is A, where all actions are alike; choose another one, say 0 or 6.
    """),
        row(state_slider, gamma_slider, up_slider),
        table({
            f"in {label}": list(m.actions),
            r"$\pi(a\vert s)$": pi[s],
            "$r(s,a)$": m.expected_reward[s],
            "$s'$": [str(x[1]) for x in after],
            r"$v_\pi(s')$": [v[m.state_index(x[1])] for x in after],
            r"$q_\pi(s,a)$": q[s],
        }),
        mo.md(rf"""
    The mean of the last column, weighted with $\pi$, is **{pi[s] @ q[s]:.10f}**; the solution of the system says
    $v_\pi(s)$ = {v[s]:.10f}.

    $J$ is one number for the whole policy: the expected return from a start that is drawn from `m.start` (here each of
    the 25 states alike). There are three routes to it. The last uses no value at all: it counts how often each state is
    visited, $\eta(s) = \sum_t \gamma^t \Pr(S_t = s)$, and pays $r_\pi(s)$ for each visit.
    """),
        table({
            "route": [r"$\sum_s \text{start}(s)\, v_\pi(s)$",
                      r"$\sum_s \text{start}(s) \sum_a \pi(a\vert s)\, q_\pi(s,a)$", r"$\sum_s \eta(s)\, r_\pi(s)$"],
            "$J$": [f"{x:.10f}" for x in routes],
            "difference from `evaluate`": [f"{x - J:.1e}" for x in routes],
        }),
        mo.md(rf"The visits add up to $1 / (1 - \gamma)$: {occupancy(m, pi).sum():.6f} at $\gamma$ = {gamma:g}."),
        source(three_routes),
    ])  # fmt: skip
    return


@app.function
def steps_until(gamma):
    """T with gamma^T 10 / (1 - gamma) <= CUT: all that can be paid after T steps is less than that."""
    return 1 if gamma == 0 else int(np.ceil(np.log(CUT * (1 - gamma) / 10) / np.log(gamma)))


@app.function
def sampled_returns(m, pi, s, N, seed):
    """G_0 of REPEATS times N episodes that begin in state s, (REPEATS, N)."""
    starts = np.full(REPEATS * N, s)
    played = Simulator(m, pi).tally(starts, np.random.default_rng(seed), steps_until(m.gamma))
    return played.returns.reshape(REPEATS, N)


@app.function
def variance_of(m, pi):
    """Var[G_0|s] = E[G_0^2|s] - v(s)^2, with G_0^2 = R^2 + 2 gamma R G_1 + gamma^2 G_1^2: one more linear solve."""
    P, _ = chain(m, pi)
    v, t = v_of(m, pi), m.table
    terms = t.reward**2 + 2 * m.gamma * t.reward * v[t.next]
    b = np.bincount(t.state, pi[t.state, t.action] * t.p * terms, minlength=m.n_states)
    return np.linalg.solve(np.eye(m.n_states) - m.gamma**2 * P, b) - v**2


@app.cell
def the_returns(N, m, pi, s, seed):
    returns = sampled_returns(m, pi, s, N, seed)
    variance = float(return_variance(m, pi)[s])
    variance_numpy = float(variance_of(m, pi)[s])
    standard_error = (max(variance, 0.0) / N) ** 0.5
    return returns, standard_error, variance, variance_numpy


@app.cell(hide_code=True)
def show_the_returns(
    N, gamma, gamma_slider, m, redraw, returns, returns_slider, s, standard_error, state_slider, v, variance,
    variance_numpy,
):  # fmt: skip
    means = returns.mean(axis=1)
    error_of_all = (max(variance, 0.0) / returns.size) ** 0.5
    mo.vstack([
        mo.md(rf"""
    ## 3. Is $G_t$ an expectation?

    No. $G_t = R_{{t+1}} + \gamma R_{{t+2}} + \dots$ is a **random variable**: another episode, another number. Its
    mean, given $S_t = s$, is $v_\pi(s)$; that is the definition of $v_\pi$. Five episodes from {m.states[s]} returned
    {", ".join(f"{x:.3f}" for x in returns[0, :5])}. The value is {v[s]:.3f}.

    A random variable has a variance too, and it is as exact as the mean:
    """),
        row(gamma_slider, state_slider, returns_slider, redraw),
        draw_returns(returns, v[s], variance, N),
        table({
            f"from state {m.states[s]}": [
                r"$v_\pi(s)$, exact", "standard deviation of $G_0$, exact", f"mean of all {returns.size:,} returns",
                "exact standard error of that mean", f"exact standard error of a mean of {N}",
                f"means of {N} within 2 standard errors",
            ],
            "value": [
                f"{v[s]:.10f}", f"{max(variance, 0.0) ** 0.5:.10f}", f"{returns.mean():.6f}", f"{error_of_all:.6f}",
                f"{standard_error:.6f}",
                f"{(np.abs(means - v[s]) <= 2 * standard_error + 2 * CUT).sum()} of {REPEATS}",
            ],
        }),
        mo.md(rf"""
    On the left, the returns themselves: they are not near $v_\pi(s)$, they lie around it. On the right each point is a
    mean of {N} of them. More returns bring the points closer to the line; no number of episodes moves the line. (The
    task never ends, so an episode is left after {steps_until(gamma):,} steps, when at most $10^{{-6}}$ of the return
    can be missing.)

    The variance is a linear solve as well, with $\gamma^2$ in the place of $\gamma$. A few lines of numpy give
    {variance_numpy:.10f}, the package's `return_variance` gives {variance:.10f}; the difference is
    {variance_numpy - variance:.1e}. For $\gamma = 0$ the return is one reward, and in A it is always 10: variance 0.
    """),
        source(sampled_returns),
        source(variance_of),
    ])  # fmt: skip
    return


@app.function
def reward_at_the_end(gamma):
    """v of A .. E in the book's walk: the step into the right end pays 1."""
    m = random_walk(gamma=gamma)
    return evaluate(m, m.uniform_policy()).v[~m.terminal]


@app.function
def value_at_the_end(gamma):
    """v of A .. E with all rewards 0 and v(right end) = 1 given: v = gamma P v, solved for the states between."""
    m = random_walk(gamma=gamma)
    P, _ = chain(m, m.uniform_policy())
    inside, end = ~m.terminal, m.state_index("right end")
    return np.linalg.solve(np.eye(5) - gamma * P[inside][:, inside], gamma * P[inside, end])


@app.function
def reward_one_step_later(gamma):
    """v of A .. E with the reward 1 on one more step, out of the right end: no state has a value by decree."""
    walk = random_walk()
    outcomes = {(s, a): [(p, s_next, 0.0) for p, s_next, _ in walk.outcomes(s, a)]
                for s in "ABCDE" for a in walk.actions}  # fmt: skip
    outcomes["right end", "leave"] = [(1.0, "over", 1.0)]
    m = FiniteMDP.from_outcomes(outcomes, gamma=gamma)
    v = evaluate(m, m.uniform_policy()).v
    return np.array([v[m.state_index(s)] for s in "ABCDE"])


@app.cell
def the_walk(walk_gamma):
    by_reward, by_value = reward_at_the_end(walk_gamma), value_at_the_end(walk_gamma)
    by_later = reward_one_step_later(walk_gamma)
    return by_later, by_reward, by_value


@app.cell(hide_code=True)
def show_the_walk(by_later, by_reward, by_value, walk_gamma, walk_slider):
    mo.vstack([
        mo.md(r"""
    ## 4. Reward 0 everywhere with terminal value 1: is that the same?

    The random walk of Example 6.2: five states A to E between two ends, a fair coin, start in C. In the book the step
    into the right end pays 1, and both ends have the value 0. Many programs do it the other way round: all rewards are
    0, and the right end *has the value* 1, $v_\pi(s) = \gamma \sum_{s'} p(s'|s)\, v_\pi(s')$.
    """),
        row(walk_slider),
        draw_walk(by_reward, by_value, walk_gamma),
        table({
            "$s$": list("ABCDE"),
            "reward 1 on the last step": [f"{x:.10f}" for x in by_reward],
            "value 1 at the end": [f"{x:.10f}" for x in by_value],
            r"$\gamma$ times the first": [f"{walk_gamma * x:.10f}" for x in by_reward],
            "difference of the last two": [f"{x:.1e}" for x in by_value - walk_gamma * by_reward],
        }),
        mo.md(rf"""
    At $\gamma = 1$ it is the same: 1/6 to 5/6, the probability of ending on the right. At a smaller $\gamma$ it is a
    factor $\gamma$ apart, in every state. The last reward $R_T$ enters $G_0$ with $\gamma^{{T-1}}$; a value of $S_T$
    enters with $\gamma^T$, as if it were a reward $R_{{T+1}}$ on a step after the end. A walk that has this step, and
    pays 1 on it, gives the second column by another route: the largest difference is
    {np.abs(by_later - by_value).max():.1e}. (The same factor appears in tutorial 1, when $R_{{t+1}}$ is discounted by
    its own index.)

    The book's rule: a terminal state has the value 0, always. What the end is worth is a reward on the way to it.
    """),
        source(reward_at_the_end, value_at_the_end, reward_one_step_later),
    ])
    return


@app.function
def coin(p):
    """J of the short corridor at gamma = 1, where every step goes right with probability p; or why there is none."""
    m = short_corridor(1.0)
    try:
        return evaluate(m, np.tile([1 - p, p], (m.n_states, 1))).objective
    except ValueError as error:
        return str(error)


@app.cell(hide_code=True)
def show_the_coin(coin_slider, p):
    J_coin = coin(p)
    proper = isinstance(J_coin, float)
    some = [x for x in dict.fromkeys([0.05, 0.5, 0.95, p]) if 0 < x < 1]
    endless = gridworld_5x5(1.0)
    try:
        _refused = f"v(A) = {evaluate(endless, endless.uniform_policy()).v[1]}"
    except ValueError as error:
        _refused = f"ValueError: {error}"
    near_1 = [0.9, 0.99, 0.999, 0.9999]
    v_A = [float(evaluate(endless.with_gamma(x), endless.uniform_policy()).v[1]) for x in near_1]
    mo.vstack([
        mo.md(r"""
    ## 5. What does $\gamma = 1$ need?

    A policy that comes to an end from every state, with probability 1. It is called *proper*. Then the powers of
    $P_\pi$ between the other states go to 0, and $I - P_\pi$ can be inverted there. Take the short corridor of
    Example 13.1 (tutorial 7 draws it): every step pays $-1$, in the middle one of its three states the two actions are
    switched, and the policy is a coin with $\Pr(\text{right}) = p$.
    """),
        row(coin_slider),
        draw_coin(p, J_coin),
        table({
            "$p$": [f"{x:g}" for x in some],
            "$J$ by the linear solve": [f"{coin(x):.10f}" for x in some],
            r"$-2\,(2 - p) / (p\,(1 - p))$": [f"{-2 * (2 - x) / (x * (1 - x)):.10f}" for x in some],
        }),
        mo.md(
            f"At $p$ = {p:g} the policy is proper: an episode takes {-J_coin:.6f} steps on average."
            if proper
            else f"At $p$ = {p:g} the agent never arrives, and there is no number. `evaluate` says:"
        ),
        *([] if proper else [mo.plain_text(fill(f"ValueError: {J_coin}", 110))]),
        mo.md(r"""
    Move $p$ to 0 or 1 and the policy is not proper any more. On the 5 x 5 grid no policy is, and at $\gamma = 1$ the
    package refuses:
    """),
        mo.plain_text(fill(_refused, 110)),
        mo.md(rf"""
    The three lines of numpy do not refuse: here they say that A is worth {numpy_says()}. The matrix is singular, and
    what comes out is rounding error divided by nearly nothing. The true values run away as $\gamma \to 1$, in step with
    $1 / (1 - \gamma)$:
    """),
        table({
            r"$\gamma$": [f"{x:g}" for x in near_1],
            r"$v_\pi(A)$, every action 1/4": [f"{x:.6f}" for x in v_A],
            r"$(1 - \gamma)\, v_\pi(A)$": [(1 - x) * y for x, y in zip(near_1, v_A, strict=True)],
        }),
        mo.md("The last column goes to a limit, the average reward of a step."),
        source(coin),
    ])
    return


@app.function
def numpy_says():
    """v(A) of the 5 x 5 grid at gamma = 1, where there is none, by `v_of`."""
    m = gridworld_5x5(1.0)
    try:
        return f"{v_of(m, m.uniform_policy())[1]:.1e}"
    except np.linalg.LinAlgError as error:
        return f"... nothing ({error})"


@app.function
def solution_1():
    """v of the middle cell from its four neighbours: with the digits of Figure 3.2, with all digits, and solved."""
    m = gridworld_5x5(0.9)
    v = evaluate(m, m.uniform_policy()).v.reshape(5, 5)
    printed = 0.9 * (2.3 + 0.4 - 0.4 + 0.7) / 4  # above, right, below, left
    return printed, 0.9 * (v[1, 2] + v[2, 3] + v[3, 2] + v[2, 1]) / 4, v[2, 2]


@app.function
def plus(m, c):
    """The same MDP, with c added to the reward of every step."""
    P = m.transition.toarray().reshape(m.n_states, m.n_actions, m.n_states)
    same = {"gamma": m.gamma, "terminal": m.terminal, "admissible": m.admissible}
    return FiniteMDP.from_arrays(P, m.expected_reward + c, **same)


@app.function
def solution_2(m, c=1.0):
    """How much v_pi rises in every state when c is added to all rewards; pi takes all actions alike."""
    pi = m.uniform_policy()
    return evaluate(plus(m, c), pi).v - evaluate(m, pi).v


@app.function
def solution_3():
    """v and Var[G_0] of A .. E in the random walk at gamma = 1."""
    m = random_walk()
    pi = m.uniform_policy()
    return evaluate(m, pi).v[~m.terminal], return_variance(m, pi)[~m.terminal]


@app.cell(hide_code=True)
def exercises():
    printed, by_neighbours, solved = solution_1()
    grid_rise, walk_rise = solution_2(gridworld_5x5(0.9)), solution_2(random_walk())
    v_walk, var_walk = solution_3()
    mo.vstack([
        mo.md("## 6. Exercises"),
        exercise(
            1,
            r"""*One equation by hand* (Exercise 3.14). In Figure 3.2 the middle cell has the value .7, and its
    neighbours 2.3 (above), .4 (right), $-.4$ (below) and .7 (left). Does the Bellman equation hold?""",
            r"""All four actions pay 0, so $v = \gamma\, (2.3 + .4 - .4 + .7) / 4$. With the printed digits it holds to
    their precision; with all digits it holds.""",
            table({"": ["printed neighbours", "exact neighbours", "the linear solve"],
                   "$v$ of the middle": [f"{x:.10f}" for x in (printed, by_neighbours, solved)]}),
            source(solution_1),
        ),
        exercise(
            2,
            r"""*A constant* (Exercises 3.15 and 3.16). Add 1 to every reward. How do the values change on the 5 x 5
    grid with $\gamma = .9$? And in the random walk with $\gamma = 1$?""",
            rf"""Every step pays 1 more. The grid never ends: each value rises by $1 / (1 - \gamma)$ = 10, here between
    {grid_rise.min():.10f} and {grid_rise.max():.10f}. No policy gains on another. The walk ends: each value rises by
    the expected number of steps, $k\,(6 - k)$ from the $k$-th state. Whoever walks longer gets more: in a task that
    ends, a constant can change which policy is best.""",
            table({"": list("ABCDE"), "the value rises by": list(walk_rise[1:6]),
                   "$k\\,(6 - k)$": [k * (6 - k) for k in range(1, 6)]}),
            source(plus, solution_2),
        ),
        exercise(
            3,
            r"""*A variance by hand.* In the random walk with $\gamma = 1$ the return is 1 or 0. What is its variance
    from each state? How many episodes from C bring the standard error of the mean down to .01?""",
            rf"""$G_0$ is 1 with the probability $v$, so $G_0^2 = G_0$ and the variance is $v - v^2$. From C it is 1/4,
    and $\sqrt{{1/4 / N}} = .01$ gives $N$ = {var_walk[2] / 0.01**2:,.0f}.""",
            table({"": list("ABCDE"), r"$v\,(1 - v)$": list(v_walk * (1 - v_walk)),
                   "`return_variance`": list(var_walk)}),
            source(solution_3),
        ),
    ])  # fmt: skip
    return


@app.function
@styled
def draw_returns(returns, v, variance, N):
    """Left: all returns. Right: their means, N at a time, on the exact interval."""
    figure, (left, right) = panels(1.2, 1, width=11.5, height=3.9)
    left.hist(returns.ravel(), bins=40, color=color_of("sampled"), alpha=0.75, label=f"{returns.size:,} returns $G_0$")
    sigma = max(variance, 0.0) ** 0.5
    left.axvspan(v - sigma, v + sigma, color=color_of("exact"), alpha=0.12, label=r"$v_\pi(s) \pm$ exact deviation")
    left.axvline(v, color=color_of("exact"), label=r"$v_\pi(s)$")
    left.set(xlabel="$G_0$", ylabel="episodes", title="the returns are random")
    left.set_ylim(top=1.35 * left.get_ylim()[1])
    left.legend(ncols=2, loc="upper center", fontsize=9)
    name = f"means\nof {N}"
    draw_estimates(right, {name: returns.mean(axis=1)}, mean={name: v}, error={name: sigma / N**0.5},
                   xlabel=r"estimates of $v_\pi(s)$", title="one point is one mean")  # fmt: skip
    return figure


@app.function
@styled
def draw_walk(by_reward, by_value, gamma):
    """The two readings, state by state."""
    figure, (axes,) = panels(1, width=8.5, height=3.3)
    curves = {"reward 1 on the last step": by_reward, "value 1 at the end": by_value}
    draw_curves(axes, range(5), curves, kinds=dict(zip(curves, ("exact", "scaled"), strict=True)), marker="o",
                ylabel=r"$v_\pi(s)$", title=rf"$\gamma$ = {gamma:g}", ylim=(-0.05, 1.0))  # fmt: skip
    axes.set_xticks(range(5), "ABCDE")
    return figure


@app.function
@styled
def draw_coin(p, J):
    """J of the corridor over p, with the point of the slider where there is one."""
    figure, (axes,) = panels(1, width=8.5, height=3.3)
    x = np.linspace(0.02, 0.98, 97)
    draw_curves(axes, x, {"$J$": [coin(y) for y in x]}, kinds={"$J$": "exact"}, xlabel="$p$", ylabel="$J(p)$",
                xlim=(-0.02, 1.02), ylim=(-100, 0), title=r"the short corridor at $\gamma$ = 1")  # fmt: skip
    if isinstance(J, float):
        axes.plot([p], [J], "o", ms=10, color="black")
    else:
        axes.axvline(p, color=color_of("biased"), lw=3)
        axes.text(0.5, -50, "no value: the episode never ends", ha="center", color=color_of("biased"))
    return figure


@app.function
def test_example_3_5():
    m = gridworld_5x5(0.9)
    pi = m.uniform_policy()
    row_0 = [3.3089963356, 8.7892918626, 4.4276191826, 5.3223675934, 1.4921787587]
    assert np.allclose(v_of(m, pi)[:5], row_0, rtol=0, atol=1e-9)
    assert np.allclose(evaluate(m, pi).v[:5], row_0, rtol=0, atol=1e-9)
    assert np.allclose(three_routes(m, pi), evaluate(m, pi).objective, rtol=0, atol=1e-9)


@app.function
def test_the_variance_is_a_linear_solve():
    for gamma in (0.0, 0.5, 0.9, 0.99):
        m = gridworld_5x5(gamma)
        pi = m.uniform_policy()
        assert np.allclose(variance_of(m, pi), return_variance(m, pi), rtol=1e-9, atol=1e-9)


@app.function
def test_the_returns_lie_around_v():
    # 3 statements at 5.5 standard errors, seed 0: false alarm about 1e-7, were the mean of 1,000 returns normal
    for gamma in (0.5, 0.9, 0.95):
        m = gridworld_5x5(gamma)
        pi = m.uniform_policy()
        s = m.state_index(A)
        returns = sampled_returns(m, pi, s, 50, 0)
        error = (return_variance(m, pi)[s] / returns.size) ** 0.5
        assert abs(returns.mean() - evaluate(m, pi).v[s]) < 5.5 * error + CUT


@app.function
def test_a_value_at_the_end_is_a_reward_one_step_later():
    assert np.allclose(reward_at_the_end(1.0), np.arange(1, 6) / 6, rtol=0, atol=1e-12)
    for gamma in (0.0, 0.3, 0.9, 1.0):
        assert np.allclose(value_at_the_end(gamma), gamma * reward_at_the_end(gamma), rtol=0, atol=1e-12)
        assert np.allclose(value_at_the_end(gamma), reward_one_step_later(gamma), rtol=0, atol=1e-12)


@app.function
def test_the_corridor():
    assert abs(coin(0.5) + 12) < 1e-9
    assert abs(coin(0.95) + 44.2105263158) < 1e-9
    assert abs(coin(0.05) + 82.1052631579) < 1e-9
    assert "never ends" in coin(0.0)
    assert "never ends" in coin(1.0)


@app.function
def test_solutions():
    printed, by_neighbours, solved = solution_1()
    assert abs(printed - 0.675) < 1e-12
    assert abs(by_neighbours - solved) < 1e-12
    assert np.allclose(solution_2(gridworld_5x5(0.9)), 10, rtol=0, atol=1e-9)
    assert np.allclose(solution_2(random_walk())[1:6], [5, 8, 9, 8, 5], rtol=0, atol=1e-9)
    v, variance = solution_3()
    assert np.allclose(variance, v * (1 - v), rtol=0, atol=1e-12)


if __name__ == "__main__":
    app.run()
