"""Tutorial 5: time limits are not endings. Pardo et al. (2018), "Time limits in reinforcement learning".

marimo run tutorials/05_time_limits.py      in a browser, with sliders
python tutorials/05_time_limits.py          prints what each treatment of a cut gives
pytest tutorials/05_time_limits.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Time limits are not endings")

with app.setup:
    from itertools import islice

    import gymnasium
    import marimo as mo
    import numpy as np
    from course import beside, exercise, row, source, table

    from envs import ZOO, frozen_lake
    from mdp import FiniteMDP, evaluate, occupancy, simulate, solve, sweeps, unroll
    from mdp.plot import board_of, draw_curves, draw_estimates, panels, plot_board, styled

    REPEATS, EPISODES = 20, 500
    END, BOOTSTRAP = "cut taken for an end", "bootstrapped"
    LONGEST = 300


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # Time limits are not endings

    $$\text{target} = \begin{cases} R_{t+1} & \text{if the episode terminated} \\
    R_{t+1} + \gamma\, v(S_{t+1}) & \text{if it goes on, or was truncated} \end{cases}$$

    An episode is *terminated* when the problem says that it is over: a goal, a hole. It is *truncated* when somebody
    stops watching, after 100 steps, say. Gymnasium's `step` returns a flag for each. This page cuts episodes at a limit
    $H$, treats the cut in several ways, and computes exactly what each of them gives. Three questions get a number for
    an answer:

    1. What does a limit cost, and does the best policy need a clock? (section 2)
    2. Terminated or truncated: is the target $r$, or $r + \gamma v(s')$? (sections 3 and 4)
    3. What does TD learn when it takes every cut for an end? (section 5)

    The subject is that of Pardo et al. (2018), "Time limits in reinforcement learning"; the notation is that of Sutton
    & Barto, 2nd edition. Until the last exercise, $\gamma = 1$.
    """)
    return


@app.cell
def the_lake():
    m = frozen_lake()  # the return is 1 where the goal is reached, else 0
    solution = solve(m)
    pi, v = solution.policy, solution.v
    rules = gymnasium.spec("FrozenLake-v1")
    return m, pi, rules, solution, v


@app.cell(hide_code=True)
def show_the_lake(m, pi, rules, v):
    mo.vstack([
        mo.md(r"""
    ## 1. The lake, without a limit

    Slippery FrozenLake, 4 by 4. The ice is slippery: a move goes where it should with probability 1/3, and to either
    side of that with probability 1/3 each. The episode ends in the goal (lower right corner), which pays 1, or in one
    of the four holes, which pay 0. So $v(s)$ is the probability of reaching the goal from $s$.
    """),
        plot_board(m, board_of(m, ZOO["FrozenLake4x4"].cell), v=v, policy=pi, title="$v_*$, and a policy with it"),
        mo.md(f"""
    From the start, in the upper left corner, the best probability of success is {m.start @ v:.10f}, which is 14/17. The
    policy takes its time. Wherever there is an action none of whose three outcomes is a hole, it takes such an action,
    often a push against a wall, and waits until a slip takes it onward; only in the cell (1, 2), in row 1 and column 2,
    it has to risk something. An episode takes {occupancy(m, pi).sum():.2f} steps on average, and some take far longer.
    Gymnasium's FrozenLake-v1 is cut after {rules.max_episode_steps} steps.
    """),
    ])
    return


@app.cell
def the_limit_slider():
    limits = [10, 20, 30, 50, 70, 100, 150, 200, LONGEST]
    limit_slider = mo.ui.slider(steps=limits, value=100, label="limit $H$", show_value=True)
    trust_slider = mo.ui.slider(steps=[k / 10 for k in range(11)], value=0.9, label="critic: $w$", show_value=True)
    other_episodes = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other episodes")
    return limit_slider, other_episodes, trust_slider


@app.cell
def the_reset_button():
    reset = mo.ui.button(label="back to the first")
    return (reset,)


@app.cell
def the_step_button(limit_slider, other_episodes, reset):
    limit_slider, other_episodes, reset  # each of them makes the button anew, and its count is 0 again
    step = mo.ui.button(value=0, on_click=lambda n: n + 1, label="next episode")
    return (step,)


@app.cell
def values_of_the_controls(limit_slider):
    H = limit_slider.value
    return (H,)


@app.cell
def value_of_the_seed(other_episodes):
    seed = other_episodes.value  # a cell of its own: what does not depend on it is not computed again
    return (seed,)


@app.cell
def value_of_the_step(step):
    k = step.value
    return (k,)


@app.cell
def value_of_the_trust(trust_slider):
    w = trust_slider.value
    return (w,)


@app.function
def within(m, pi, H):
    """The expected return of the first H steps under pi; the best possible one for pi=None: H sweeps from v_0 = 0."""
    return float(m.start @ next(islice(sweeps(m, pi), H, None)))


@app.function
def at_the_start(m, pi, action):
    """pi with another action at the start."""
    other = pi.copy()
    other[m.start > 0] = np.eye(m.n_actions)[m.action_index(action)]
    return other


@app.function
def with_a_clock(m, H):
    """The best success within H steps, and the best actions (H + 1, S, A) of each time and state."""
    best = solve(clocked := unroll(m, H))  # its states are (t, s), and all with t = H are terminal
    return float(clocked.start @ best.v), best.optimal_actions.reshape(H + 1, m.n_states, m.n_actions)


@app.cell
def the_curves(m, pi):
    _policies = {
        "best with a clock": None,
        "no clock, left at the start": at_the_start(m, pi, "left"),
        "no clock, down at the start": at_the_start(m, pi, "down"),
    }
    curves = {name: [m.start @ v_k for v_k in islice(sweeps(m, x), LONGEST + 1)] for name, x in _policies.items()}
    return (curves,)


@app.cell
def the_limit(H, m):
    best_within, best_actions = with_a_clock(m, H)
    return best_actions, best_within


@app.cell(hide_code=True)
def show_the_limit(H, best_actions, best_within, curves, limit_slider, m, pi, rules, solution):
    def names(actions):
        return "any" if actions.all() else " or ".join(m.actions[a] for a in np.flatnonzero(actions))

    lefts = [n for n in (5, 10, 15, 30, 50, 100, 200) if n <= H]
    first, corner = m.state_index((0, 0)), m.state_index((0, 2))
    mo.vstack([
        mo.md(r"""
    ## 2. What does a limit cost, and does the best policy need a clock?

    Let the limit be part of the problem: after $H$ steps it is over, and who has not reached the goal has lost.
    `unroll(m, H)` makes that an MDP. Its states are pairs $(t, s)$, so its policies see a clock.
    """),
        row(limit_slider),
        draw_success(H, curves, float(m.start @ solution.v)),
        table({
            f"H = {H}": ["best with a clock", "no limit", "the limit costs"],
            "success": [f"{best_within:.10f}", f"{m.start @ solution.v:.10f}",
                        f"{m.start @ solution.v - best_within:.10f}"],
        }),
        mo.md(f"""
    (Gymnasium counts FrozenLake-v1 as solved at {rules.reward_threshold:.2f}, with {rules.max_episode_steps} steps.)
    The best policy does look at the clock. What it does in the start cell (0, 0), and in (0, 2):
    """),
        table({
            "steps left": lefts,
            "in (0, 0)": [names(best_actions[H - n, first]) for n in lefts],
            "in (0, 2)": [names(best_actions[H - n, corner]) for n in lefts],
            "success from (0, 0)": [within(m, None, n) for n in lefts],
        }),
        mo.md(r"""
    With much time left it is patient; with little, it takes whatever may still be quick enough. A policy without a
    clock cannot do both. And what is optimal without a limit may be slow: at the start *all four* actions attain
    $\max_a q_*(s,a)$, since without a limit waiting costs nothing. Always the same one of them, and section 1's policy
    elsewhere:
    """),
        table({
            "at the start": m.actions,
            r"$q_*(\text{start}, a)$": solution.q[first],
            "success without limit": [*[evaluate(m, at_the_start(m, pi, a)).objective for a in m.actions[:3]],
                                      "0, it never ends"],
            f"success within {H} steps": [within(m, at_the_start(m, pi, a), H) for a in m.actions],
        }),
        mo.md("Who always goes *up* walks to and fro along the upper edge for ever: a tie in $q_*$ is not enough."),
        source(within, with_a_clock),
    ])  # fmt: skip
    return


@app.function
def episodes_within(m, pi, H, n, seed):
    """n episodes that are cut after H steps, and S_H of those that were truncated, -1 of the others."""
    cut, longer = (simulate(m, pi, n, rng=np.random.default_rng(seed), max_steps=T) for T in (H, H + 1))
    S_H = np.full(n, -1)
    if cut.truncated.any():
        S_H[cut.truncated] = longer.states[cut.truncated, H]  # the same episodes, watched for one step more
    return cut, S_H


@app.function
def target(r, terminated, v_next, gamma=1.0):
    """What v(s) is moved towards. The flag `truncated` does not occur."""
    return r + gamma * v_next * (not terminated)


@app.cell
def the_episodes(H, m, pi, seed):
    episodes, S_H = episodes_within(m, pi, H, REPEATS * EPISODES, seed)
    return S_H, episodes


@app.function
def one_of_each(episodes, k):
    """The number of the k-th truncated and of the k-th terminated episode, in turn; None where there is none."""
    found = (np.flatnonzero(flag) for flag in (episodes.truncated, episodes.terminated))
    return [int(those[k % len(those)]) if len(those) else None for those in found]


@app.cell(hide_code=True)
def show_the_episodes(H, S_H, episodes, k, limit_slider, m, other_episodes, pi, reset, step, v):
    pair, share = one_of_each(episodes, k), float(state_after(m, pi, H).sum())
    expected, spread = len(episodes) * share, np.sqrt(len(episodes) * share * (1 - share))

    def line(n):
        if n is None:
            return ["none"] + [""] * 7
        T, ended = int(episodes.lengths[n]), bool(episodes.terminated[n])
        r, after = episodes.rewards[n, T - 1], v[S_H[n]] if S_H[n] >= 0 else 0.0
        where = ("the goal" if r else "a hole") if ended else str(m.states[S_H[n]])
        return [n, T, f"{r:g}", where, ended, not ended, after, target(r, ended, after)]

    _headings = ["episode number", "steps", "last reward $r$", "last state $s'$", "`terminated`", "`truncated`",
                 "$v_*(s')$", "target of the last step"]  # fmt: skip
    mo.vstack([
        mo.md(rf"""
    ## 3. Terminated or truncated? One episode of each

    Now the limit is not part of the problem. We want $v_\pi$ of the lake *without* a limit, $\pi$ being the policy of
    section 1, and merely cannot watch for ever. Of {len(episodes):,} episodes, {episodes.truncated.sum():,} were
    truncated at $H$ = {H} (expected are {expected:.1f}, with a standard error of {spread:.1f}, both exact). Go through
    them; the seed of *other episodes* starts at 0 and rises by 1.
    """),
        row(limit_slider, step, reset, other_episodes),
        draw_episodes(m, episodes, S_H, pair),
        table({"": _headings, "truncated": line(pair[0]), "terminated": line(pair[1])}),
        mo.md(r"""
    From a hole or from the goal nothing more can come: the rest of the return is 0, and the target is $r$. A truncated
    episode stands in the middle of the lake, where the rest of the return is not 0. Its expectation is $v_\pi(s')$,
    which is what the target needs. To put $v_\pi(s')$ there is called *bootstrapping*:
    """),
        beside(r"r + \gamma\, v(s')\; [\text{not terminated}]", target),
        mo.md("How the episodes are played and cut:"),
        source(episodes_within),
    ])
    return


@app.function
def state_after(m, pi, H):
    """Pr(S_H = s) of the episodes that still run: start P_pi^H, as the rows of P of what is over are empty."""
    P = m.transition.toarray().reshape(m.n_states, m.n_actions, m.n_states)
    P_pi = np.einsum("sa,sat->st", pi, P)
    return m.start @ np.linalg.matrix_power(P_pi, H)


@app.function
def cut_return(m, pi, H, v_hat):
    """Exact mean and standard deviation of G_0, where a cut adds v_hat(S_H): G_0 is 1, 0 or v_hat(S_H)."""
    goal, p = within(m, pi, H), state_after(m, pi, H)
    mean, square = goal + p @ v_hat, goal + p @ v_hat**2
    return float(mean), float(np.sqrt(max(square - mean**2, 0.0)))


@app.cell
def the_treatments(H, S_H, episodes, m, pi, v, w):
    exact = {END: cut_return(m, pi, H, 0 * v), BOOTSTRAP: cut_return(m, pi, H, v)}
    with_critic = cut_return(m, pi, H, w * v)[0]
    running = float(state_after(m, pi, H).sum())
    dropped = within(m, pi, H) / (1 - running)

    G = episodes.rewards.sum(axis=1)
    sampled = {END: G, BOOTSTRAP: G + np.where(S_H >= 0, v[S_H], 0.0)}
    if mo.app_meta().mode == "script":
        print(f"cut at {H} steps; v_pi(start) = {m.start @ v:.10f}")
        for _name, (_mean, _) in exact.items():
            print(f"{_name}: {_mean:.10f}")
    return dropped, exact, running, sampled, with_critic


@app.cell(hide_code=True)
def show_the_treatments(
    H, dropped, exact, limit_slider, m, other_episodes, running, sampled, trust_slider, v, w, with_critic
):
    truth, n = float(m.start @ v), REPEATS * EPISODES
    _critic = f"a critic, {w:g} v"
    mo.vstack([
        mo.md(r"""
    ## 4. Which target: $r$, or $r + \gamma v(s')$?

    $$\mathbb{E}[G_0 \text{ with } \hat v(S_H) \text{ added at a cut}] = v^H_\pi(s_0) + \sum_s \Pr(S_H = s)\,\hat v(s)$$

    $v^H_\pi$ counts the rewards of the first $H$ steps, and $\Pr(S_H = s)$ the episodes that still run. Everything here
    follows from the table $p(s',r|s,a)$. Taking the cut for an end is the choice $\hat v = 0$. A critic that has not
    yet learned everything is $\hat v = w\, v_\pi$.
    """),
        row(limit_slider, other_episodes, trust_slider),
        draw_treatments(truth, exact, sampled),
        table({
            f"H = {H}": [END, BOOTSTRAP, _critic, "cut episodes dropped"],
            "target at a cut": ["$r$", r"$r + v_\pi(s')$", rf"$r + {w:g}\, v_\pi(s')$", "none"],
            "exact mean": [f"{x:.10f}" for x in (exact[END][0], exact[BOOTSTRAP][0], with_critic, dropped)],
            "error": [f"{x - truth:.10f}" for x in (exact[END][0], exact[BOOTSTRAP][0], with_critic, dropped)],
            f"mean of {n:,} episodes": [*(f"{x.mean():.6f}" for x in sampled.values()), "", ""],
            "exact standard error": [*(f"{sd / np.sqrt(n):.6f}" for _, sd in exact.values()), "", ""],
        }),
        mo.md(rf"""
    So the target is $r + \gamma v(s')$ at a cut, and $r$ at an end only. At $H$ = {H}, {running:.4f} of the episodes
    still run, and who takes their cut for an end finds {exact[END][0]:.4f} in place of {truth:.4f}. More episodes do
    not help: the green band shrinks around the truth, the red one beside it.

    - *But my $v$ is not exact.* The error is $\sum_s \Pr(S_H = s)\,(\hat v(s) - v_\pi(s))$: the critic's error times
      the share of what is cut. Move $w$: $w = 0$ is the cut taken for an end, and any critic between 0 and $v_\pi$ is
      better than that.
    - *Dropping the cut episodes* is biased too: those that end early are not like the others.
    - *When is $r$ right at a limit?* When the limit belongs to the problem, as in section 2. Then time belongs to the
      state, $v$ is a function of $(t, s)$, and the limit *is* an end. With a limit in the rules but no clock in the
      state, what is to come depends on something that the agent does not see.
    """),
        source(state_after, cut_return),
    ])
    return


@app.cell
def the_two_routes(H, best_within, exact, m, pi):
    clocked = unroll(m, H)
    always = np.tile(pi, (H + 1, 1))
    routes = [
        ("best within H", "`solve(unroll(m, H))`", best_within, f"{H} sweeps, optimality", within(m, None, H)),
        (END, "`evaluate(unroll(m, H), pi)`", evaluate(clocked, always).objective, f"{H} sweeps, pi", exact[END][0]),
        (BOOTSTRAP, "`evaluate(m, pi)`, no limit", evaluate(m, pi).objective, "sum over $S_H$", exact[BOOTSTRAP][0]),
    ]
    return (routes,)


@app.cell(hide_code=True)
def show_the_two_routes(routes):
    mo.vstack([
        mo.md(r"""
    ### The same numbers by two routes

    The unrolled lake is an MDP with $17\,(H + 1)$ states, solved like any other. The sweeps
    $v_{k+1} = r + \gamma P v_k$ know nothing of it: $v_H$, from $v_0 = 0$, *is* the value of the first $H$ steps.
    """),
        table({
            "": [name for name, *_ in routes],
            "one route": [text for _, text, *_ in routes],
            "its value": [f"{x:.10f}" for _, _, x, *_ in routes],
            "the other": [text for *_, text, _ in routes],
            "value": [f"{y:.10f}" for *_, y in routes],
            "difference": [f"{x - y:.1e}" for _, _, x, _, y in routes],
        }),
    ])
    return


@app.function
def learned(m, pi, H):
    """(v, c): where TD comes to rest if a cut is an end; c(s): how many of the visits to s are the last of H."""
    S, A = m.admissible.shape
    clocked = unroll(m.with_gamma(1.0), H)
    visits = occupancy(clocked, np.tile(pi, (H + 1, 1))).reshape(H + 1, S)  # Pr(S_t = s) in row t
    c = visits[H - 1] / np.maximum(visits.sum(axis=0), 1e-300)
    P_pi = np.einsum("sa,sat->st", pi, m.transition.toarray().reshape(S, A, S))
    r_pi = (pi * m.expected_reward).sum(axis=1)
    return np.linalg.solve(np.eye(S) - m.gamma * (1 - c)[:, None] * P_pi, r_pi), c


@app.cell
def what_is_learned(H, m, pi):
    v_learned, c = learned(m, pi, H)
    return c, v_learned


@app.cell(hide_code=True)
def show_what_is_learned(H, c, exact, limit_slider, m, v, v_learned):
    some = [m.state_index(cell) for cell in ((0, 0), (1, 2), (3, 2))]
    mean = float(m.start @ v_learned)
    mo.vstack([
        mo.md(r"""
    ## 5. What does TD learn when it takes every cut for an end?

    TD(0) moves $v(s)$ towards its targets, and rests where $v(s)$ is their mean over all visits to $s$. Let $c(s)$ be
    the share of these visits that are the last before the cut,
    $c(s) = \Pr(S_{H-1} = s) \,/\, \sum_{t<H} \Pr(S_t = s)$. If their target is $r$ alone,

    $$v(s) = r_\pi(s) + \gamma\,(1 - c(s)) \sum_{s'} p_\pi(s'|s)\, v(s')$$

    That is the Bellman equation of another lake: one where, after a step from $s$, the ice breaks with probability
    $c(s)$.
    """),
        row(limit_slider),
        draw_lakes(m, v, v_learned),
        table({
            f"H = {H}": [str(m.states[s]) for s in some],
            "$c(s)$": [f"{c[s]:.10f}" for s in some],
            r"$v_\pi(s)$": [f"{v[s]:.10f}" for s in some],
            "learned": [f"{v_learned[s]:.10f}" for s in some],
            "error": [f"{v_learned[s] - v[s]:.10f}" for s in some],
        }),
        mo.md(rf"""
    Every state is too low, near the goal the least. At the start the learned value is the mean return of section 4,
    cut taken for an end: {mean:.10f} here and {exact[END][0]:.10f} there, difference {mean - exact[END][0]:.1e}. At
    $\gamma = 1$ this is always so. The expected numbers of visits within $H$ steps, $\sum_{{t<H}} \Pr(S_t = s)$, are
    also those of the lake with the thin ice, so both add up the same rewards. With the target $r + \gamma v(s')$ at a
    cut there is no $c(s)$ in the equation, and TD rests at $v_\pi$, whatever $H$ is.
    """),
        source(learned),
    ])
    return


@app.function
def solution_1():
    """(no limit, mean return of episodes cut at 2, what TD learns) of a coin that is tossed until it shows heads."""
    toss = {("tossing", "toss"): [(0.5, "tossing", 1.0), (0.5, "end", 1.0)]}
    m = FiniteMDP.from_outcomes(toss, gamma=1.0, start={"tossing": 1.0})
    pi = m.uniform_policy()
    return evaluate(m, pi).objective, within(m, pi, 2), learned(m, pi, 2)[0][0]


@app.function
def first_limit(m, pi, success):
    """The smallest H with more than this success within H steps; pi=None: the best policy, with a clock."""
    return next(H for H, v in enumerate(sweeps(m, pi)) if m.start @ v > success)


@app.function
def solution_3(H, gamma=0.99):
    """A task that never ends and pays 1 a step: v, the mean return of H steps, and what TD learns."""
    m = FiniteMDP.from_outcomes({("on", "go"): [(1.0, "on", 1.0)]}, gamma=gamma)
    pi = m.uniform_policy()
    return evaluate(m, pi).objective, within(m, pi, H), learned(m, pi, H)[0][0]


@app.cell(hide_code=True)
def exercises(m, pi, rules):
    bars = [rules.reward_threshold, 0.99 * 14 / 17]
    limits_3 = [10, 100, 1000]
    never_ends = np.array([solution_3(H) for H in limits_3]).T
    mo.vstack([
        mo.md("## 6. Exercises"),
        exercise(
            1,
            r"""*By hand.* A coin is tossed until it shows heads; each toss pays 1. What is $v$ without a limit? What is
    the mean return of episodes that are cut after $H = 2$ tosses? What does TD learn from these, if a cut is an
    end?""",
            r"""Without a limit $v = 1 + v/2$, so $v = 2$. The second toss takes place with probability 1/2: the mean
    return is $1 + 1/2$. There are $1 + 1/2$ visits, and $1/2$ of a visit is the last before the cut: $c = 1/3$. So
    $v = 1 + \frac12 \cdot \frac23\, v$, that is $v = 3/2$, as section 5 says of the start.""",
            table({"": ["no limit", "mean return", "TD"], "by hand": ["2", "3/2", "3/2"], "code": solution_1()}),
            source(solution_1),
        ),
        exercise(
            2,
            f"""*How long a limit?* From which $H$ on is more than {bars[0]:.2f} possible on FrozenLake? And more than
    99 % of 14/17? For the best policy, and for that of section 1.""",
            table({
                "success": [f"more than {bar:.4f}" for bar in bars],
                "with a clock": [first_limit(m, None, bar) for bar in bars],
                "policy of section 1": [first_limit(m, pi, bar) for bar in bars],
            }),
            source(first_limit),
        ),
        exercise(
            3,
            r"""*A task that never ends.* Every step pays 1, and $\gamma = .99$. What is $v$? What do the mean return
    and TD make of it, if episodes are cut at $H$ and the cut is taken for an end?""",
            r"""$v = 1 / (1 - \gamma)$. The mean return is $(1 - \gamma^H) / (1 - \gamma)$. All $H$ visits are to the
    same state, one of them is the last, so $c = 1/H$, and TD learns $1 / (1 - \gamma\,(1 - 1/H))$. The two are no
    longer equal, since $\gamma < 1$. With $r + \gamma v(s')$ at the cut both are right.""",
            table({"$H$": limits_3, "$v$": never_ends[0], "mean return": never_ends[1], "TD": never_ends[2]}),
            source(solution_3),
        ),
    ])
    return


@app.function
@styled
def draw_success(H, curves, unlimited):
    """Success within a limit, over the limit."""
    figure, (axes,) = panels(width=9.5, height=3.7)
    kinds = dict(zip(curves, ("exact", "#56B4E9", "#CC79A7"), strict=True))
    draw_curves(axes, np.arange(LONGEST + 1), curves, kinds=kinds, levels={"no limit: 14/17": unlimited})
    axes.axvline(H, color="black", ls=":", lw=1.5, label=f"H = {H}")
    axes.set(xlabel="limit, in steps", ylabel="Pr(goal)", xlim=(0, LONGEST), ylim=(0, 0.9))
    axes.legend(loc="lower right")
    return figure


@app.function
def draw_cells(axes, m, x, colors, title, form):
    """x (S,) on the board; grey where an episode ends."""
    cells = [(s, label) for s, label in enumerate(m.states) if label != "end"]
    board, live = np.full((4, 4), np.nan), board_of(m, ZOO["FrozenLake4x4"].cell).shown
    for s, cell in cells:
        board[cell] = x[s] if live[s] else np.nan
    low, high = min(0.0, np.nanmin(board)), max(np.nanmax(board), 1e-9)
    axes.imshow(np.ma.masked_invalid(board), cmap=colors, vmin=low, vmax=high * 1.4)
    axes.set_facecolor("lightgrey")
    axes.set(xticks=[], yticks=[], title=title)
    axes.grid(visible=False)
    for s, (i, j) in cells:
        text = format(x[s], form) if live[s] else "goal" if (i, j) == (3, 3) else "hole"
        axes.text(j, i, text, ha="center", va="center", fontsize=11, color="black" if live[s] else "dimgrey")


@app.function
@styled
def draw_episodes(m, episodes, S_H, pair):
    """How often the episodes of a pair were in each cell; a ring where the first was cut off."""
    figure, both = panels(1, 1, width=8, height=4)
    for axes, n, what in zip(both, pair, ("truncated", "terminated"), strict=True):
        if n is None:
            axes.set(xticks=[], yticks=[], title=f"none was {what}")
            continue
        T, S_T = int(episodes.lengths[n]), S_H[n]
        visited = np.bincount(episodes.states[n, :T], minlength=m.n_states)
        draw_cells(axes, m, visited, "Greens", f"{what}: visits in {T} steps", "d")
        i, j = m.states[S_T] if S_T >= 0 else (3, 3)
        if S_T >= 0 or episodes.rewards[n, T - 1]:
            axes.plot(j, i, "o", ms=42, mfc="none", mec="black", mew=2)
    return figure


@app.function
@styled
def draw_treatments(truth, exact, sampled):
    """Each point is the mean of EPISODES episodes, on its exact interval."""
    figure, (axes,) = panels(width=9.5, height=3.7)
    points = {name: x.reshape(REPEATS, EPISODES).mean(axis=1) for name, x in sampled.items()}
    mean = {name: mu for name, (mu, _) in exact.items()}
    error = {name: sd / np.sqrt(EPISODES) for name, (_, sd) in exact.items()}
    draw_estimates(axes, points, mean=mean, error=error, truth=truth, kinds={END: "biased"},
                   xlabel=f"one point: the mean return of {EPISODES} episodes")  # fmt: skip
    return figure


@app.function
@styled
def draw_lakes(m, v, v_learned):
    figure, (left, right) = panels(1, 1, width=8, height=4)
    draw_cells(left, m, v, "Blues", r"exact: $v_\pi(s)$", ".4f")
    draw_cells(right, m, v_learned, "Oranges", "learned: cut taken for an end", ".4f")
    return figure


@app.function
def test_the_numbers_of_the_lake():
    m = frozen_lake()
    pi = solve(m).policy
    assert abs(evaluate(m, pi).objective - 14 / 17) < 1e-9
    assert abs(within(m, None, 100) - 0.7441902878) < 1e-9
    assert abs(with_a_clock(m, 100)[0] - 0.7441902878) < 1e-9
    assert abs(within(m, pi, 100) - 0.7401648978) < 1e-9
    assert abs(within(m, at_the_start(m, pi, "down"), 100) - 0.5458845) < 1e-6


@app.function
def test_bootstrapping_repairs_the_cut():
    m = frozen_lake()
    pi, v = solve(m).policy, solve(m).v
    for H in (10, 100, 300):
        assert abs(cut_return(m, pi, H, v)[0] - 14 / 17) < 1e-9
        assert abs(cut_return(m, pi, H, 0 * v)[0] - within(m, pi, H)) < 1e-12


@app.function
def test_td_and_the_mean_return_agree_at_the_start():
    m = frozen_lake()
    pi = m.uniform_policy()
    for H in (1, 10, 100):
        assert abs(m.start @ learned(m, pi, H)[0] - within(m, pi, H)) < 1e-9


@app.function
def test_the_means_lie_within_their_exact_errors():
    # 4 statements at 5.5 standard errors, seed 0: false alarm about 2e-7, were the mean of 10,000 episodes normal
    m = frozen_lake()
    pi, v = solve(m).policy, solve(m).v
    for H in (20, 100):
        episodes, S_H = episodes_within(m, pi, H, 10_000, 0)
        G = episodes.rewards.sum(axis=1)
        for v_hat in (0 * v, v):
            mu, sigma = cut_return(m, pi, H, v_hat)
            X = G + np.where(S_H >= 0, v_hat[S_H], 0.0)
            assert abs(X.mean() - mu) < 5.5 * sigma / np.sqrt(len(X))


@app.function
def test_solutions():
    assert np.allclose(solution_1(), [2, 1.5, 1.5], rtol=0, atol=1e-12)
    m = frozen_lake()
    H = first_limit(m, None, 0.7)
    assert within(m, None, H - 1) <= 0.7 < within(m, None, H)
    for H in (10, 100):
        forms = [100, (1 - 0.99**H) / 0.01, 1 / (1 - 0.99 * (1 - 1 / H))]
        assert np.allclose(solution_3(H), forms, rtol=1e-10, atol=0)


if __name__ == "__main__":
    app.run()
