"""Tutorial 1: an MDP is a table. Sutton & Barto (2nd ed.), chapter 3.

marimo run tutorials/01_an_mdp_is_a_table.py      in a browser, with sliders
python tutorials/01_an_mdp_is_a_table.py          runs all cells, prints nothing
pytest tutorials/01_an_mdp_is_a_table.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="An MDP is a table")

with app.setup:
    from collections import Counter
    from math import exp, factorial

    import gymnasium
    import marimo as mo
    import numpy as np
    from course import exercise, row, source, table

    from envs import car_rental, gridworld_4x4, recycling_robot, short_corridor
    from mdp import FiniteMDP, discounted_return, evaluate, return_variance, returns_to_go, simulate, solve
    from mdp.plot import board_of, draw_bars, draw_curves, frames, panels, plot_graph, styled

    GAMES = {"recycling robot": recycling_robot, "gridworld 4 x 4": gridworld_4x4, "short corridor": short_corridor}
    MOVES = ["left", "down", "right", "up"]  # FrozenLake's actions 0, 1, 2, 3
    LONGEST = 20  # steps of an episode that are shown
    PLAYED = 1000  # steps that are sampled
    CAPACITY = 20  # cars that fit a place


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # An MDP is a table

    $$p(s', r \mid s, a) = \Pr\{S_{t+1} = s',\, R_{t+1} = r \mid S_t = s,\, A_t = a\}, \qquad
    \sum_{s'} \sum_r p(s', r \mid s, a) = 1$$

    This is equation (3.2) of the book, and (3.3). The first holds everything that can be known of the problem: all
    values, all gradients and all variances of this course follow from it. With finitely many states, actions and
    rewards it is a table, and this page reads such tables. Four questions get a number for an answer:

    1. $R_t$ or $R_{t+1}$? And what if the reward depends on $s'$? (section 3)
    2. Where is $p(s'|s,a)$ in Gymnasium? (section 4)
    3. Why do FrozenLake's probabilities "not sum to 1", and why does it go the wrong way? (section 4)
    4. Jack's car rental: where may the Poisson distribution be cut, and what is $p(r|s,a)$? (section 5)

    Notation is that of Sutton & Barto, 2nd edition.
    """)
    return


@app.cell
def the_controls():
    beta_slider = mo.ui.slider(steps=[k / 20 for k in range(21)], value=0.6, label=r"$\beta$", show_value=True)
    gamma_slider = mo.ui.slider(steps=[k / 20 for k in range(21)], value=0.9, label=r"$\gamma$", show_value=True)
    state_slider = mo.ui.slider(0, 15, value=0, label="state $s$", show_value=True)
    rates = [0, 0.1, 0.2, 1 / 3, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    rate_slider = mo.ui.slider(steps=rates, value=1 / 3, label="success rate", show_value=True)
    cut_slider = mo.ui.slider(3, 20, value=10, label="counts up to", show_value=True)
    cars_slider = mo.ui.slider(0, CAPACITY, value=10, label="cars at each place", show_value=True)
    game_menu = mo.ui.dropdown(list(GAMES), value="recycling robot", label="problem")
    action_menu = mo.ui.dropdown({move: k for k, move in enumerate(MOVES)}, value="left", label="action $a$")
    other_episode = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other episode")
    other_sample = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other sample")
    reset_button = mo.ui.button(label="reset")
    return (
        action_menu,
        beta_slider,
        cars_slider,
        cut_slider,
        game_menu,
        gamma_slider,
        other_episode,
        other_sample,
        rate_slider,
        reset_button,
        state_slider,
    )


@app.cell
def the_step_button(game_menu, other_episode, reset_button):
    game_menu, other_episode, reset_button  # each of them makes the button anew: its count is 0 again
    step_button = mo.ui.button(value=0, on_click=lambda n: n + 1, label="step")
    return (step_button,)


@app.cell
def values_of_the_controls(game_menu, gamma_slider, other_episode):
    gamma, game, episode = gamma_slider.value, game_menu.value, other_episode.value
    return episode, game, gamma


@app.cell
def value_of_beta(beta_slider):
    beta = beta_slider.value  # a cell of its own, as those below: what does not depend on it is not made anew
    return (beta,)


@app.cell
def values_of_the_step_button(step_button):
    steps = step_button.value
    return (steps,)


@app.cell
def values_of_the_lake(action_menu, other_sample, rate_slider, state_slider):
    s, a, success_rate, sample = state_slider.value, action_menu.value, rate_slider.value, other_sample.value
    return a, s, sample, success_rate


@app.cell
def values_of_the_rental(cars_slider, cut_slider):
    cut, cars = cut_slider.value, cars_slider.value
    return cars, cut


@app.cell
def the_robot(beta):
    robot = recycling_robot(beta=beta)
    return (robot,)


@app.function
def refusal(make, *args, **kwargs):
    """What is said when a table is refused."""
    try:
        return f"accepted: {make(*args, **kwargs)}"
    except ValueError as error:
        return f"ValueError: {error}"


@app.function
def rows_of(m):
    """{(s, a): [(p, s', r), ...]} of a table, and the sum of each row's probabilities."""
    pairs = [(s, a) for s in m.states for a in m.actions if m.outcomes(s, a)]
    rows = {pair: m.outcomes(*pair) for pair in pairs}
    return rows, {pair: sum(p for p, _, _ in outcomes) for pair, outcomes in rows.items()}


@app.cell(hide_code=True)
def show_the_robot(beta_slider, robot):
    rows, sums = rows_of(robot)
    pi = robot.uniform_policy()
    lines = [(*pair, *outcome) for pair, found in rows.items() for outcome in found]
    typo = {("low", "search"): [(0.6, "low", 2.0), (0.3, "high", -3.0)], ("high", "wait"): [(1.0, "high", 1.0)]}
    mo.vstack([
        mo.md(r"""
    ## 1. A table

    The recycling robot, Example 3.3. It looks for cans. Its battery is *high* or *low*. Searching with a high battery
    leaves it high with probability $\alpha$. Searching with a low one leaves it low with probability $\beta$. Else the
    battery runs empty: the robot is carried home and charged, and that pays $-3$. In the picture a circle is a state,
    a dot an action, and beside every arrow stand $p$ and $r$.
    """),
        row(beta_slider),
        plot_graph(robot, v=evaluate(robot, pi).v, policy=pi, title="the colour is $v$ (tutorial 2)"),
        table({
            "$s$": [x[0] for x in lines],
            "$a$": [x[1] for x in lines],
            "$s'$": [x[3] for x in lines],
            "$r$": [f"{x[4]:g}" for x in lines],
            r"$p(s', r\vert s,a)$": [x[2] for x in lines],
        }),
        mo.md(r"""
    This is the whole MDP. (Outcomes of probability 0 are not listed.) For every pair $(s, a)$ the probabilities form a
    distribution of $(s', r)$, and so they sum to 1:
    """),
        table({
            "$(s, a)$": [f"({s}, {a})" for s, a in rows],
            r"$\sum_{s',r} p(s', r\vert s,a)$": list(sums.values()),
            r"$r(s,a) = \sum_{s',r} r\, p(s', r\vert s,a)$": [
                float(robot.expected_reward[robot.state_index(s), robot.action_index(a)]) for s, a in rows
            ],
        }),
        mo.md("The code has the shape of the table. *recharge* is in $A(\\text{low})$ only, so it stands there only."),
        source(recycling_robot),
        mo.md("A row that does not sum to 1 is no distribution, and it is refused. Here one probability is mistyped:"),
        mo.plain_text(refusal(FiniteMDP.from_outcomes, typo, gamma=0.9)),
    ])
    return


@app.function
def one_episode(game, seed):
    """An MDP, and an episode of it in which every action is equally likely; no longer than LONGEST steps."""
    m = GAMES[game]()
    return m, simulate(m, m.uniform_policy(), 1, rng=np.random.default_rng(seed), max_steps=LONGEST)


@app.function
def both_ways(rewards, gamma):
    """G_0, G_1, ...: G_t = R_{t+1} + gamma G_{t+1}, backwards; sum over k of gamma^k R_{t+k+1}, forwards."""
    backwards = returns_to_go(rewards, gamma)
    forwards = np.array([discounted_return(rewards[t:], gamma) for t in range(len(rewards))])
    return backwards, forwards


@app.cell
def the_episode(episode, game):
    played_game, one = one_episode(game, episode)
    picture = frames(played_game, board_of(played_game))
    return one, picture, played_game


@app.cell(hide_code=True)
def show_the_episode(
    game_menu, gamma, gamma_slider, one, other_episode, picture, played_game, reset_button, step_button, steps
):
    T = int(one.lengths[0])
    n = min(steps, T)
    R = one.rewards[0, :n]
    visited = [played_game.states[k] for k in one.states[0, :T]]
    G, G_sum = both_ways(R, gamma)
    if n < T:
        now, over = int(one.states[0, n]), f"t = {n}: press step, and the next reward is drawn"
    elif one.terminated[0]:  # the problems that end are deterministic: the last step has one outcome
        last = played_game.outcomes(visited[-1], played_game.actions[one.actions[0, T - 1]])
        now, over = played_game.state_index(last[0][1]), f"the episode ended at T = {T}"
    else:
        now, over = int(one.states[0, T - 1]), f"we stop watching at t = {T}; this is where the last step began"
    mo.vstack([
        mo.md(r"""
    ## 2. An episode is read from the table, step by step

    In state $S_t$ the agent chooses $A_t$ (here every action is equally likely), and one row of the table gives
    $(S_{t+1}, R_{t+1})$ together. The return from time $t$ on is

    $$G_t = R_{t+1} + \gamma R_{t+2} + \gamma^2 R_{t+3} + \cdots = R_{t+1} + \gamma\, G_{t+1}$$
    """),
        row(game_menu, gamma_slider, step_button, reset_button, other_episode),
        mo.image(picture(now, over), width=720 if played_game.n_states < 10 else 400, alt="where the agent is"),
        table({
            "$t$": list(range(n + 1)),
            "$S_t$": [*visited[:n], "…" if n == T and not one.terminated[0] else played_game.states[now]],
            "$A_t$": [*(played_game.actions[k] for k in one.actions[0, :n]), ""],
            "$R_{t+1}$": [*(f"{r:g}" for r in R), ""],
            r"$G_t = R_{t+1} + \gamma G_{t+1}$": [*(f"{x:.10f}" for x in G), "0"],
            r"$\sum_k \gamma^k R_{t+k+1}$": [*(f"{x:.10f}" for x in G_sum), "0"],
            "difference": [*(f"{x:.1e}" for x in G - G_sum), ""],
        }),
        mo.md(rf"""
    The table is filled from below. After the last reward $G_t = 0$, and each row needs only the one under it. The last
    column holds that against the sum written out: the largest difference is {np.abs(G - G_sum).max(initial=0):.1e}.
    Watch the rows above when you press *step*: $G_t$ holds what comes *after* time $t$, so every new reward changes
    the rows before it (unless $\gamma = 0$). $G_t$ is known when the episode is over. The robot's task is never over;
    we stop watching after {LONGEST} steps, and show the return of the rewards up to there.
    """),
        source(both_ways),
    ])
    return


@app.function
def paid_in_expectation(m):
    """The same transitions, and r(s,a) in place of the reward: it no longer depends on s'."""
    P = m.transition.toarray().reshape(m.n_states, m.n_actions, m.n_states)
    return FiniteMDP.from_arrays(P, m.expected_reward, gamma=m.gamma, admissible=m.admissible, states=m.states)


@app.function
def discounted_by_its_index(rewards, gamma):
    """sum over t of gamma^t R_t, for rewards R_1, R_2, ...: each with the discount of its own index."""
    return sum(gamma**t * R for t, R in enumerate(rewards, start=1))


@app.cell
def the_rewards(gamma, one, robot):
    whole = one.rewards[0, : one.lengths[0]]
    G_0, by_index = float(discounted_return(whole, gamma)), float(discounted_by_its_index(whole, gamma))
    two = {"the reward depends on $s'$": robot, "$r(s,a)$ in its place": paid_in_expectation(robot)}
    values = {name: evaluate(m, m.uniform_policy()).v for name, m in two.items()}
    variances = {name: return_variance(m, m.uniform_policy()) for name, m in two.items()}
    return G_0, by_index, values, variances, whole


@app.cell(hide_code=True)
def show_the_rewards(G_0, beta, beta_slider, by_index, gamma, gamma_slider, robot, values, variances, whole):
    searching = robot.outcomes("low", "search")
    by_outcome, by_pair = values.values()
    mo.vstack([
        mo.md(rf"""
    ## 3. $R_t$ or $R_{{t+1}}$? What if the reward depends on $s'$?

    The book writes $R_{{t+1}}$ for the reward of $A_t$, because it is drawn together with $S_{{t+1}}$. Others write
    $R_t$. Both are names for one number, and in code it stands at `rewards[t]` in either case. It goes wrong when the
    name of one book meets the formula of the other. The episode of section 2, with all of its {len(whole)} rewards:
    """),
        row(gamma_slider),
        table({
            "the book's $R_1, R_2, \\dots$ discounted by": ["the time of the action", "the reward's own index"],
            "sum": [r"$\sum_{t \ge 0} \gamma^t R_{t+1} = G_0$", r"$\sum_{t \ge 1} \gamma^t R_t$"],
            "value": [f"{G_0:.10f}", f"{by_index:.10f}"],
        }),
        mo.md(rf"""
    The second is $\gamma\, G_0$, here {gamma:g} times {G_0:.6f} = {gamma * G_0:.10f}: every value is off by a factor
    $\gamma$, and only $\gamma = 1$ hides it. Tutorial 2 meets this factor again.

    **What if the reward depends on $s'$?** The table has room for it: an outcome is a *pair* $(s', r)$. When the robot
    searches with a low battery, the reward is a random variable:
    """),
        row(beta_slider),
        table({
            "(low, search) leads to $s'$": [after for _, after, _ in searching],
            "with the reward $r$": [f"{r:g}" for _, _, r in searching],
            "with probability": [p for p, _, _ in searching],
        }),
        mo.md(rf"""
    Its expectation is $r(\text{{low}}, \text{{search}})$ = {sum(p * r for p, _, r in searching):.6f}. May one put
    $r(s,a)$ in its place, the same for every $s'$? Two tables, every action equally likely, $\gamma$ =
    {robot.gamma:g}:
    """),
        table({
            "": list(values),
            r"$v_\pi(\text{high})$": [f"{v[0]:.10f}" for v in values.values()],
            r"$v_\pi(\text{low})$": [f"{v[1]:.10f}" for v in values.values()],
            "standard deviation of $G_0$ from low": [f"{x[1] ** 0.5:.10f}" for x in variances.values()],
        }),
        mo.md(f"""
    For the values it makes no difference (the largest difference is {np.abs(by_outcome - by_pair).max():.1e}), since
    an expectation sees $r$ only through $r(s,a)$. The returns are different random variables all the same: they scatter
    differently, unless $\\beta$ is 0 or 1 and there is nothing to average. At the slider, $\\beta$ = {beta:g}. So use
    $r(s,a)$ for values, and the whole table for variances, and for episodes.
    """),
        source(paid_in_expectation, discounted_by_its_index),
    ])
    return


@app.function
def as_dictionary(listed):
    """{s': p} of Gymnasium's list [(p, s', r, terminated), ...]; where s' stands twice, this loses probability."""
    return {after: p for p, after, _, _ in listed}


@app.function
def short_rows(P):
    """The number of pairs (s, a), and of those among them whose dictionary does not sum to 1."""
    lists = [listed for by_action in P.values() for listed in by_action.values()]
    return len(lists), sum(abs(sum(as_dictionary(listed).values()) - 1) > 1e-9 for listed in lists)


@app.function
def shares(lake, s, a, seed):
    """How often each s' follows when Gymnasium itself plays action a in state s, PLAYED times: {s': share}."""
    lake.reset(seed=seed)
    after = Counter()
    for _ in range(PLAYED):
        lake.s = s
        observed, _, terminated, _, _ = lake.step(a)
        after["terminal" if terminated else observed] += 1
    return {s_next: n / PLAYED for s_next, n in after.items()}


@app.cell
def the_lake(success_rate):
    lake = gymnasium.make("FrozenLake-v1", success_rate=success_rate).unwrapped
    frozen = FiniteMDP.from_gymnasium(lake, gamma=1.0)
    best = solve(frozen)
    by_chance = evaluate(frozen, frozen.uniform_policy()).v[0]
    return best, by_chance, frozen, lake


@app.cell
def the_row(a, frozen, lake, s, sample):
    listed = lake.P[s][a]
    dictionary = as_dictionary(listed)
    exact = Counter()
    for _p, _s_next, _ in frozen.outcomes(s, a):
        exact[_s_next] += _p
    played = shares(lake, s, a, sample)
    return dictionary, exact, listed, played


@app.cell(hide_code=True)
def show_the_lake(
    a,
    action_menu,
    best,
    by_chance,
    dictionary,
    exact,
    frozen,
    lake,
    listed,
    other_sample,
    played,
    rate_slider,
    s,
    state_slider,
):
    pairs, short = short_rows(lake.P)
    error = {x: (p * (1 - p) / PLAYED) ** 0.5 for x, p in exact.items()}
    asked = sum(p for k, (p, _, _, _) in enumerate(listed) if len(listed) == 1 or k == 1)
    mo.vstack([
        mo.md(r"""
    ## 4. Where is $p(s'|s,a)$ in Gymnasium?

    In `env.unwrapped.P[s][a]`, for the few environments that have a table: `gymnasium.make` puts wrappers around an
    environment, and `unwrapped` goes through them. An entry is $(p, s', r, \text{terminated})$. FrozenLake is 4 x 4
    cells, numbered by rows: the start is 0, the goal is 15 and pays 1, and the holes are 5, 7, 11 and 12. Choose a
    state and an action:
    """),
        row(state_slider, action_menu, rate_slider, other_sample),
        table({
            f"`P[{s}][{a}]`": list(range(len(listed))),
            "$p$": [float(x[0]) for x in listed],
            "$s'$": [int(x[1]) for x in listed],
            "$r$": [f"{x[2]:g}" for x in listed],
            "terminated": [bool(x[3]) for x in listed],
        }),
        mo.md(r"""
    ### Why do the probabilities "not sum to 1"?

    They do sum to 1. But one $s'$ may stand in the list twice: in state 0, a step to the left and a slip upwards both
    end at the wall, in state 0. Code that writes the list into a dictionary keeps the later of the two. For this pair:
    """),
        table({
            "what is summed": ["the list `P[s][a]`", "the dictionary {s': p}", "`FiniteMDP`, equal (s', r) merged"],
            "sum": [
                sum(float(x[0]) for x in listed), float(sum(dictionary.values())), float(sum(exact.values()))
            ],
        }),
        mo.md(rf"""
    Of all {pairs} pairs $(s, a)$, **{short}** lose probability in this way. The chart holds the dictionary against the
    merged row, and against {PLAYED:,} steps that Gymnasium made itself. The black bars are 2 exact standard errors,
    $\sqrt{{p\,(1 - p) / {PLAYED}}}$.
    """),
        draw_where_it_goes(exact, dictionary, played, error),
        table({
            f"$s'$ after {MOVES[a]} in {s}": [str(x) for x in exact],
            r"$p(s'\vert s,a)$": [float(p) for p in exact.values()],
            f"share of {PLAYED:,} steps": [played.get(x, 0.0) for x in exact],
            "exact standard error": list(error.values()),
        }),
        mo.md(rf"""
    ### Why does it go the wrong way?

    The ice is slippery. The move that was asked for happens with the success rate, by default 1/3; else the agent goes
    to one side of it, left or right with equal probability. (It never goes backwards.) For this state and action the
    asked move has the probability **{asked:.6f}**. Without ice: `is_slippery=False`. What this does to the chance of
    reaching the goal from the start, with no limit of time:
    """),
        table({
            "policy": ["the best one", "every action equally likely"],
            "Pr(goal)": [f"{best.v[0]:.10f}", f"{by_chance:.10f}"],
            "in state 0 it chooses": [MOVES[int(best.policy[0].argmax())], "anything"],
        }),
        mo.md(rf"""
    At the success rate 1/3 the best chance is 14/17. Its policy goes left at the start, into the wall: there it can
    slip down, but never to the right. The second number does not depend on the success rate at all: when all moves are
    equally likely, so are all moves with a slip.

    `FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=.9)` does all of this: it reads `P`, merges, adds one state
    "terminal" for all that ends, and takes the start. Here it has {frozen.n_states} states and {len(frozen.table.p)}
    outcomes. An environment without a table is refused:
    """),
        mo.plain_text(refusal(FiniteMDP.from_gymnasium, "Blackjack-v1", gamma=1.0)),
        source(as_dictionary, short_rows, shares),
    ])
    return


@app.function
def poisson(mean, cut):
    """Pr(X = 0), ..., Pr(X = cut): what lies above is forgotten."""
    return np.array([exp(-mean) * mean**k / factorial(k) for k in range(cut + 1)])


@app.function
def rented(mean, m, cut):
    """Pr(min(X, m) = k), k = 0 .. m, where Poisson counts above `cut` are forgotten."""
    return np.bincount(np.minimum(np.arange(cut + 1), m), weights=poisson(mean, cut), minlength=m + 1)


@app.function
def folded(mean, m):
    """The same, exact: all requests beyond the m cars are one case, with the probability of the whole tail."""
    p = poisson(mean, m)
    p[m] = 1 - p[:m].sum()
    return p


@app.function
def income(m, cut=None):
    """p(r|s,a), r = 0, 10, 20, ..., with m cars at each place; Poisson counts above `cut` forgotten, if given."""
    if cut is None:
        return np.convolve(folded(3, m), folded(4, m))
    returned = poisson(3, cut).sum() * poisson(2, cut).sum()  # cars that come back: their row is cut as well
    return np.convolve(rented(3, m, cut), rented(4, m, cut)) * returned


@app.function
def place(requests, returns, cut):
    """One place that opens with m cars, Poisson counts up to `cut`: its expected income (m,), Pr(n'|m) (m, n')."""
    x, y, k = poisson(requests, cut), poisson(returns, cut), np.arange(cut + 1)
    r, P = np.zeros(CAPACITY + 1), np.zeros((CAPACITY + 1, CAPACITY + 1))
    for m in range(CAPACITY + 1):
        out = np.minimum(k, m)
        r[m] = 10 * (x @ out) * y.sum()
        np.add.at(P[m], np.minimum(m - out[:, None] + k, CAPACITY), np.outer(x, y))
    return r, P


@app.function
def cut_table(cut):
    """P (441, 441) and r (441,) of Jack's car rental with the action "move no car", Poisson counts up to `cut`."""
    (r_1, P_1), (r_2, P_2) = place(3, 3, cut), place(4, 2, cut)
    return np.kron(P_1, P_2), (np.outer(r_1, P_2.sum(axis=1)) + np.outer(P_1.sum(axis=1), r_2)).ravel()


@app.cell
def jacks_rental(cars, cut):
    jack = car_rental(most_moved=0)  # one action: move no car
    here = jack.state_index((cars, cars))
    v_exact = evaluate(jack, jack.uniform_policy()).v[here]

    P_cut, r_cut = cut_table(cut)
    v_cut = np.linalg.solve(np.eye(len(P_cut)) - jack.gamma * P_cut, r_cut)[here]
    said = refusal(FiniteMDP.from_arrays, P_cut[:, None], r_cut, gamma=jack.gamma, states=jack.states)
    return here, jack, said, v_cut, v_exact


@app.cell(hide_code=True)
def show_jacks_rental(cars, cars_slider, cut, cut_slider, here, jack, said, v_cut, v_exact):
    exact_row, cut_row = income(cars), income(cars, cut)
    r = 10 * np.arange(len(exact_row))
    mean, mean_cut = float(r @ exact_row), float(r @ cut_row)
    in_the_table = float(jack.expected_reward[here, 0])
    missing = 1 - float(cut_row.sum())
    mo.vstack([
        mo.md(r"""
    ## 5. Jack's car rental: where to cut, and what is $p(r|s,a)$?

    Example 4.2. Jack has two places. Every day Poisson(3) and Poisson(4) customers want a car and pay 10 each, and
    Poisson(3) and Poisson(2) cars come back. No place has more than 20 cars. On this page no car is moved over night. A
    Poisson variable has no largest value, so programs stop the sum somewhere, often at about 10. Choose where:
    """),
        row(cut_slider, cars_slider),
        draw_income(cars, cut, exact_row, cut_row),
        table({
            f"both places open with {cars} cars": ["the row sums to", "expected reward $r(s,a)$", r"$v_\pi(s)$"],
            "exact, tail folded": [f"{float(exact_row.sum()):.10f}", f"{mean:.10f}", f"{v_exact:.10f}"],
            f"cut: counts up to {cut}": [f"{1 - missing:.10f}", f"{mean_cut:.10f}", f"{v_cut:.10f}"],
            "lost": [f"{missing:.10f}", f"{mean - mean_cut:.10f}", f"{v_exact - v_cut:.10f}"],
        }),
        mo.md(rf"""
    Four Poisson variables are cut, so the row lacks four tails. The reward of one day loses little,
    {mean - mean_cut:.6f}. The value loses **{v_exact - v_cut:.6f}**, much more: the missing probability leads to no
    state, that is to a state worth nothing, and every day anew. A row that sums to {1 - missing:.6f} is a second
    discount: $\gamma$ becomes {jack.gamma:g} times {1 - missing:.6f} = {jack.gamma * (1 - missing):.6f}. `FiniteMDP`
    says of the cut table:
    """),
        mo.plain_text(said),
        mo.md(rf"""
    **Nothing needs to be cut.** With $m$ cars, all requests beyond $m$ are one case: $m$ cars are rented. Give this
    case the whole tail, $1 - \sum_{{k < m}} \Pr(X = k)$: that is `folded`, and it is exact with $m + 1$ terms.
    `envs.car_rental` folds requests and returns; its $r(s,a)$ differs from the one above by
    {abs(in_the_table - mean):.1e}.

    **What is $p(r|s,a)$?** The blue points: the distribution of the day's income. It is the sum of $p(s', r|s,a)$
    over $s'$. Programs for this example store only its mean $r(s,a)$, as `envs.car_rental` does. By section 3 the
    values stay exact; the variance of a return is then not that of the money. One day's income has the standard
    deviation {(float(r**2 @ exact_row) - mean**2) ** 0.5:.6f}.
    """),
        source(poisson, rented, folded, income),
        mo.accordion({"The cut table of all 441 states, from which the value comes": source(place, cut_table)}),
    ])
    return


@app.function
def solution_1():
    """beta at which searching with a low battery pays as much as waiting: by hand; and r(low, .) of the table there."""
    beta = (1 + 3) / (2 + 3)  # 2 beta - 3 (1 - beta) = 1
    m = recycling_robot(beta=beta)
    return beta, m.expected_reward[m.state_index("low")]


@app.function
def solution_2():
    """Exercise 3.8: G_5, G_4, ..., G_0 backwards by hand, and by the package."""
    by_hand = [0, 2 + 0, 3 + 2 / 2, 6 + 4 / 2, 2 + 8 / 2, -1 + 6 / 2]
    by_package = [0.0, *returns_to_go([-1, 2, 6, 3, 2], 0.5)[::-1]]
    return by_hand, by_package


@app.function
def solution_3(cut):
    """v(10, 10) of Jack's rental, no car moved: exact, cut, and cut with every row divided by its sum."""
    m = car_rental(most_moved=0)
    P, r = cut_table(cut)
    total = P.sum(axis=1)
    values = [np.linalg.solve(np.eye(441) - m.gamma * A, b) for A, b in ((P, r), (P / total[:, None], r / total))]
    s = m.state_index((10, 10))
    return [float(v[s]) for v in (evaluate(m, m.uniform_policy()).v, *values)]


@app.cell(hide_code=True)
def exercises():
    beta_equal, r_low = solution_1()
    by_hand, by_package = solution_2()
    v_10 = solution_3(10)
    mo.vstack([
        mo.md("## 6. Exercises"),
        exercise(
            1,
            r"""*Search or wait?* At which $\beta$ does searching with a low battery pay as much as waiting, on the next
    step? Searching pays 2 or $-3$, waiting pays 1. Set the slider of section 1 to your answer.""",
            r"""$r(\text{low}, \text{search}) = 2\beta - 3\,(1 - \beta) = 1$ gives $\beta = 4/5$. (This is the reward
    of one step only. After a search the battery may also be full, and what that is worth is a matter of values.)""",
            table({r"$\beta$": [f"{beta_equal:.10f}"], "$r$(low, search)": [f"{r_low[0]:.10f}"],
                   "$r$(low, wait)": [f"{r_low[1]:.10f}"]}),
            source(solution_1),
        ),
        exercise(
            2,
            r"""*Backwards* (Exercise 3.8). $\gamma = .5$, and the rewards $R_1, \dots, R_5$ are $-1, 2, 6, 3, 2$; then
    the episode ends. What are $G_0, \dots, G_5$?""",
            r"""Begin at the end: $G_5 = 0$, and each line needs only the one before it.""",
            table({"": [f"$G_{t}$" for t in range(5, -1, -1)], "by hand": [f"{x:g}" for x in by_hand],
                   "`returns_to_go`": [f"{x:g}" for x in by_package]}),
            source(solution_2),
        ),
        exercise(
            3,
            r"""*A repair.* Cut the Poisson counts at 10 and divide every row by its sum, so that it sums to 1 again.
    How much of the loss in $v_\pi(10, 10)$ is repaired? Is the table exact now?""",
            table({"": ["exact", "cut at 10", "cut at 10, rows divided by their sum"],
                   r"$v_\pi(10, 10)$": [f"{x:.10f}" for x in v_10],
                   "lost": [f"{v_10[0] - x:.10f}" for x in v_10]}),
            f"""Nearly all of it: {100 * (1 - (v_10[0] - v_10[2]) / (v_10[0] - v_10[1])):.4f} percent. It is not exact:
    the tail was shared out among all counts in place of being given to the case where it belongs.""",
            source(solution_3),
        ),
    ])  # fmt: skip
    return


@app.function
@styled
def draw_where_it_goes(exact, dictionary, played, error):
    """For every s' the merged row, the dictionary, and the share of the steps played."""
    figure, (axes,) = panels(1, width=8.5, height=1.2 + 0.75 * len(exact))
    ends = {x for x in dictionary if x not in exact}  # Gymnasium's numbers of states where the episode is over
    kept = {x: sum(dictionary[y] for y in ends) if x == "terminal" else dictionary[x] for x in exact}
    values, kinds, errors = {}, {}, {}
    for x, p in exact.items():
        table_, dict_, play = f"to {x}: merged row", f"to {x}: dictionary", f"to {x}: played"
        values |= {table_: p, dict_: kept[x], play: played.get(x, 0.0)}
        kinds |= {table_: "exact", dict_: "biased", play: "sampled"}
        errors[play] = error[x]
    draw_bars(axes, values, kinds=kinds, errors=errors, xlim=(0, 1.05), xlabel="probability of $s'$")
    return figure


@app.function
@styled
def draw_income(cars, cut, exact_row, cut_row):
    """Left: p(r|s,a), exact and cut. Right: what a row sums to, for every cut."""
    figure, (left, right) = panels(1.3, 1, width=11.5, height=3.9)
    names = ["exact", f"cut: counts up to {cut}"]
    kinds = dict(zip(names, ("exact", "biased"), strict=True))
    draw_curves(left, 10 * np.arange(len(exact_row)), dict(zip(names, (exact_row, cut_row), strict=True)), kinds=kinds,
                marker=".", xlabel="income of the day $r$", ylabel="$p(r|s,a)$", title=f"{cars} cars each")  # fmt: skip
    left.lines[0].set(lw=8, alpha=0.45)  # else the one would hide the other
    left.legend()
    cuts = np.arange(3, 21)
    sums = [income(cars, c).sum() for c in cuts]
    draw_curves(right, cuts, {"cut": sums}, kinds={"cut": "biased"}, levels={"a distribution": 1.0}, marker=".",
                xlabel="counts up to", ylabel="the row sums to", title="what is left of 1")  # fmt: skip
    right.plot([cut], [cut_row.sum()], "o", ms=10, color="black")
    right.set_xticks(range(4, 21, 4))
    return figure


@app.function
def test_every_row_sums_to_1():
    for make in (*GAMES.values(), lambda: car_rental(most_moved=0)):
        _, sums = rows_of(make())
        assert all(abs(total - 1) < 1e-12 for total in sums.values())


@app.function
def test_returns_both_ways():
    _, one = one_episode("recycling robot", 3)
    for gamma in (0.0, 0.5, 0.9, 1.0):
        G, G_sum = both_ways(one.rewards[0], gamma)
        assert np.allclose(G, G_sum, rtol=0, atol=1e-12)
        assert abs(discounted_by_its_index(one.rewards[0], gamma) - gamma * G[0]) < 1e-12


@app.function
def test_rewards_that_depend_on_the_next_state():
    m = recycling_robot(beta=0.6)
    mean = paid_in_expectation(m)
    pi = m.uniform_policy()
    assert np.allclose(evaluate(m, pi).v, evaluate(mean, pi).v, rtol=0, atol=1e-12)
    assert np.all(return_variance(m, pi) > return_variance(mean, pi) + 0.4)


@app.function
def test_frozen_lake():
    P = gymnasium.make("FrozenLake-v1").unwrapped.P
    assert abs(sum(as_dictionary(P[0][0]).values()) - 2 / 3) < 1e-12
    m = FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=1.0)
    assert abs(solve(m).v[0] - 14 / 17) < 1e-9
    assert abs(evaluate(m, m.uniform_policy()).v[0] - 0.0139397962) < 1e-9


@app.function
def test_jacks_rental():
    m = car_rental(most_moved=0)
    for cars in (0, 1, 10, 20):
        p = income(cars)
        assert abs(p.sum() - 1) < 1e-12
        assert abs(10 * np.arange(len(p)) @ p - m.expected_reward[m.state_index((cars, cars)), 0]) < 1e-9
    P, r = cut_table(10)
    s = m.state_index((10, 10))
    assert np.allclose(P.sum(axis=1), income(10, 10).sum(), rtol=0, atol=1e-12)
    assert abs(r[s] - 10 * np.arange(21) @ income(10, 10)) < 1e-9


@app.function
def test_solutions():
    beta, r_low = solution_1()
    assert abs(beta - 0.8) < 1e-12
    assert np.allclose(r_low, [1, 1, 0], rtol=0, atol=1e-12)
    assert np.allclose(*solution_2(), rtol=0, atol=1e-12)
    exact, cut, repaired = solution_3(10)
    assert cut < repaired < exact
    assert exact - repaired < 0.05 * (exact - cut)


if __name__ == "__main__":
    app.run()
