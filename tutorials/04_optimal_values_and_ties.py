"""Tutorial 4: optimal values and ties. Sutton & Barto (2nd ed.), section 3.6 and chapter 4.

marimo run tutorials/04_optimal_values_and_ties.py      in a browser, with sliders
python tutorials/04_optimal_values_and_ties.py          prints the numbers of sections 2 and 4
pytest tutorials/04_optimal_values_and_ties.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Optimal values and ties")

with app.setup:
    from fractions import Fraction
    from itertools import islice

    import marimo as mo
    import numpy as np
    from course import beside, exercise, row, source, table

    from envs import ZOO, frozen_lake, frozen_lake_8x8, gambler, gridworld_5x5
    from mdp import evaluate, occupancy, solve, sweeps
    from mdp.plot import board_of, draw_curves, panels, plot_board, styled

    GOAL = 100
    CAPITALS = np.arange(1, GOAL)
    SWEPT = "#CC79A7"  # what k sweeps gave


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # Optimal values and ties

    $$q_*(s,a) = r(s,a) + \gamma \sum_{s'} p(s'|s,a)\, v_*(s'), \qquad v_*(s) = \max_{a \in A(s)} q_*(s,a)$$

    $v_*$ is one table of numbers. The policies that attain it can be many: wherever two actions have the same $q_*$,
    each of them is optimal. Four questions get a number for an answer:

    1. How many optimal policies are there? (sections 1 and 3)
    2. Why does my gambler's policy differ from the book's? (section 3)
    3. How sure can a program be that two actions are tied? (section 4)
    4. Is every greedy policy optimal? Not at $\gamma = 1$. (section 5)

    Notation is that of Sutton & Barto, 2nd edition.
    """)
    return


@app.cell
def the_sliders():
    gamma_slider = mo.ui.slider(
        steps=[0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99], value=0.9, label=r"$\gamma$", show_value=True
    )
    p_slider = mo.ui.slider(
        steps=[0.1, 0.25, 0.4, 0.45, 0.5, 0.55, 0.6, 0.75], value=0.4, label="$p_h$", show_value=True
    )
    capital_slider = mo.ui.slider(1, 99, value=51, label="capital $s$", show_value=True)
    digits_slider = mo.ui.slider(1, 16, value=5, label="digits", show_value=True)
    lake_slider = mo.ui.slider(steps=[0.9, 0.99, 0.999, 1.0], value=1.0, label=r"$\gamma$", show_value=True)
    return capital_slider, digits_slider, gamma_slider, lake_slider, p_slider


@app.cell
def the_reset_button():
    reset = mo.ui.button(label="reset")
    return (reset,)


@app.cell
def the_step_button(reset):
    reset  # a click on it makes the other button anew: its count is 1 again
    step = mo.ui.button(value=1, on_click=lambda n: n + 1, label="one sweep")
    return (step,)


@app.cell
def values_of_the_controls(p_slider):
    p = p_slider.value
    return (p,)


@app.cell
def value_of_section_1(gamma_slider):  # values stand in several cells: what depends on one does not wait for the others
    gamma = gamma_slider.value
    return (gamma,)


@app.cell
def the_number_of_sweeps(step):
    k = step.value
    return (k,)


@app.cell
def values_of_section_3(capital_slider, digits_slider):
    capital, digits = capital_slider.value, digits_slider.value
    return capital, digits


@app.cell
def value_of_section_5(lake_slider):
    lake_gamma = lake_slider.value
    return (lake_gamma,)


@app.function
def optimal(m):
    v, q, _, best, bound, *_ = solve(m)  # proven: |v - v_*| <= bound
    return v, q, best, bound  # best: every a with q(s,a) >= max q - 2 bound


@app.function
def how_many(best, terminal):
    """The number of deterministic policies that take tied actions alone: an integer of any size."""
    return int(np.prod(best.sum(axis=1)[~terminal].astype(object)))


@app.function
def equally(best):
    """All tied actions with the same probability."""
    return best / np.maximum(best.sum(axis=1, keepdims=True), 1)


@app.function
def scientific(n):
    """7.9e+25 for a large integer, 1,024 for a small one."""
    return f"{n:,}" if n < 10**7 else f"{Fraction(n, 10 ** (len(str(n)) - 1)).__float__():.2f}e+{len(str(n)) - 1}"


@app.cell(hide_code=True)
def show_the_grid(gamma, gamma_slider):
    _m = gridworld_5x5(gamma)
    _v, _, _best, _ = optimal(_m)
    _mixed = evaluate(_m, equally(_best)).v
    _A = 10 / (1 - gamma**5)
    mo.vstack([
        mo.md(r"""
    ## 1. All optimal actions

    Example 3.8 of the book: from A, the second cell of the first row, every action pays 10 and leads to the last row;
    from B, the fourth cell, it pays 5 and leads to the third row. A bump into the wall pays $-1$. Nothing ever ends.
    """),
        beside(r"\text{best}(s) = \big\{ a : q_*(s,a) = \max_{a'} q_*(s,a') \big\}", optimal),
        row(gamma_slider),
        plot_board(_m, board_of(_m), v=_v, policy=equally(_best),
                   title=rf"$v_*$ and all optimal actions, $\gamma$ = {gamma:g}"),
        table({
            rf"row 0, $\gamma = {gamma:g}$": ["$v_*$", "$v$ of: every tied action equally likely"],
            **{f"column {j}": [f"{_v[j]:.10f}", f"{_mixed[j]:.10f}"] for j in range(5)},
        }),
        mo.md(rf"""
    From A back to A takes five steps, so $v_*(A) = 10 / (1 - \gamma^5)$ = **{_A:.10f}**; `solve` differs from it by
    {abs(_v[1] - _A):.0e}. There are **{how_many(_best, _m.terminal):,}** optimal deterministic policies at this
    $\gamma$: one choice in every cell, multiplied. Any mixture of them is optimal as well (second row of the table).
    Who compares policies arrow by arrow compares one of these with another. Compare values.
    """),
    ])  # fmt: skip
    return


@app.cell
def the_gambler(p):
    m = gambler(p)
    v, q, best, bound = optimal(m)
    return best, bound, m, q, v


@app.function
def exact_values(p):
    """v_* of the gambler in fractions, for capitals 0 .. 100; p a Fraction."""
    if p > Fraction(1, 2):  # timid play, always 1: gambler's ruin
        r = (1 - p) / p
        return [(1 - r**s) / (1 - r**GOAL) for s in range(GOAL + 1)]
    return [bold(p, s) for s in range(GOAL + 1)]


@app.function
def bold(p, s):
    """Bold play, min(s, 100 - s): one flip leads from s to 2 s or to 2 s - 100, or ends. So f(s) = c + b f(s')."""
    seen, c, b = {}, Fraction(0), Fraction(1)
    while s not in (0, GOAL):
        if s in seen:  # a circle: f = (c - c0 + b f) / b0 with what was true at the first visit
            c0, b0 = seen[s]
            f = (c - c0) / (b0 - b)
            return c + b * f
        seen[s] = c, b
        c, b, s = (c, b * p, 2 * s) if 2 * s <= GOAL else (c + b * p, b * (1 - p), 2 * s - GOAL)
    return c + b * (s == GOAL)


@app.cell
def the_fractions(p):
    in_fractions = exact_values(Fraction(str(p)))
    return (in_fractions,)


@app.cell(hide_code=True)
def show_the_gambler(best, in_fractions, k, m, p, p_slider, reset, step, v):
    _v_k = next(islice(sweeps(m), k, None))
    _off = max(abs(float(f) - x) for f, x in zip(in_fractions, np.append(v[:-1], 1.0), strict=True))
    if mo.app_meta().mode == "script":
        print(f"gambler, p_h = {p:g}: v*(25), v*(50), v*(75) =", *(f"{v[s]:.10f}" for s in (25, 50, 75)))
    mo.vstack([
        mo.md(r"""
    ## 2. The gambler's problem

    Example 4.3 of the book. With a capital of $s$ you stake $a \le \min(s, 100 - s)$ on a coin. Heads (probability
    $p_h$) wins the stake, tails loses it. The game ends at 0 or at 100, and 100 pays 1. So $v_*(s)$ is the best
    probability of getting there. The left picture is the upper part of the book's Figure 4.3.
    """),
        row(step, reset, p_slider),
        draw_the_gambler(m, v, best, _v_k, k, p),
        table({
            f"$p_h$ = {p:g}": ["$v_*(25)$", "$v_*(50)$", "$v_*(75)$", rf"$\max_s\, (v_* - v_{{{k}}})$"],
            "`solve`, `sweeps`": [f"{x:.10f}" for x in (v[25], v[50], v[75], (v - _v_k).max())],
            "in fractions": [*(short(in_fractions[s]) for s in (25, 50, 75)), ""],
        }),
        mo.md(
            rf"""
    The last column is another route, without floating point. For $p_h \le 1/2$ *bold play* is optimal (Dubins and
    Savage): stake $\min(s, 100 - s)$. One flip then leads from $s$ to $2s$ or to $2s - 100$, or it ends the game:

    $$f(s) = p_h\, f(2s) \ \text{{ up to }} 50, \qquad f(s) = p_h + (1 - p_h)\, f(2s - 100) \ \text{{ from there}}$$

    For $p_h > 1/2$ *timid play*, always 1, is optimal. Over all capitals the two routes differ by at most
    **{_off:.1e}**.
    """
        ),
        source(bold),
    ])
    return


@app.function
def short(fraction):
    """p/q where that is short, else rounded to 10 digits."""
    return str(fraction) if len(str(fraction)) < 12 else f"{float(fraction):.10f}"


@app.function
def rules(m, v, best, q, k, digits):
    """{rule: a stake for every capital 1 .. 99}. Action 0 is the stake 1."""
    q_k = m.backup(next(islice(sweeps(m), k, None)))
    found = {
        "smallest tied stake (the book's picture)": best.argmax(axis=1),
        "largest tied stake": q.shape[1] - 1 - best[:, ::-1].argmax(axis=1),
        "bold play": np.minimum(np.arange(len(v)), GOAL - np.arange(len(v))) - 1,
        "`argmax` of $q_*$ in float64": q.argmax(axis=1),
        f"`argmax` of $q$ after sweep {k}": q_k.argmax(axis=1),
        f"`argmax` of $q_*$ rounded to {digits} digits": np.round(q, digits).argmax(axis=1),
    }
    return {rule: stakes[CAPITALS] + 1 for rule, stakes in found.items()}


@app.function
def policy_of(m, stakes):
    """pi(a|s) of a stake for every capital."""
    pi = np.zeros(m.admissible.shape)
    pi[CAPITALS, stakes - 1] = 1
    return pi


@app.cell
def the_rules(best, digits, k, m, q, v):
    chosen = rules(m, v, best, q, k, digits)
    losses = {rule: (v - evaluate(m, policy_of(m, stakes)).v).max() for rule, stakes in chosen.items()}
    not_optimal = {rule: int((~best[CAPITALS, stakes - 1]).sum()) for rule, stakes in chosen.items()}
    policies = how_many(best, m.terminal)
    return chosen, losses, not_optimal, policies


@app.cell(hide_code=True)
def show_the_rules(
    best, capital, capital_slider, chosen, digits_slider, losses, not_optimal, p, p_slider, policies, q, reset, step
):
    _book = next(iter(chosen.values()))
    _top = np.argsort(-q[capital], kind="stable")[: min(6, capital, GOAL - capital)]
    _stakes = (np.flatnonzero(best[capital]) + 1).tolist()
    mo.vstack([
        mo.md(rf"""
    ## 3. Why does my gambler's policy differ from the book's?

    Because rounding decides among ties, and for $p_h \le 1/2$ most capitals have some. At $p_h$ = {p:g},
    {(best[CAPITALS].sum(axis=1) > 1).sum()} of the 99 capitals have more than one optimal stake. Multiplied, that makes
    **{scientific(policies)}** optimal deterministic policies. The saw-tooth of Figure 4.3 ($p_h = 0.4$) is one of them:
    the one that always takes the smallest. All grey points in the picture above are optimal stakes.
    """),
        row(capital_slider, p_slider),
        table({
            f"capital {capital}, $p_h$ = {p:g}: stake": [int(a) + 1 for a in _top],
            "$q_*(s,a)$ in float64": [f"{q[capital, a]:.17f}" for a in _top],
            r"$\max q_* - q_*$": [f"{q[capital].max() - q[capital, a]:.1e}" for a in _top],
            "tied": ["yes" if best[capital, a] else "no" for a in _top],
        }),
        mo.md(rf"""
    The optimal stakes at {capital} are **{_stakes if len(_stakes) < 9 else f"{len(_stakes)} of them"}**. Tied stakes
    often differ in the last digit above, because each $q_*(s,a)$ is added up from other numbers. `argmax` takes the
    largest, be it by 1e-17. Six ways to choose a stake:
    """),
        row(digits_slider, step, reset, p_slider),
        table({
            f"$p_h$ = {p:g}": list(chosen),
            f"stake at {capital}": [int(stakes[capital - 1]) for stakes in chosen.values()],
            "capitals at which it is not the book's": [int((stakes != _book).sum()) for stakes in chosen.values()],
            "not tied": list(not_optimal.values()),
            "largest loss of $v$": [f"{max(loss, 0):.1e}" for loss in losses.values()],
        }),
        mo.md(r"""
    How to read it: a row with 0 under "not tied" is optimal, whatever it looks like as a picture. Plain `argmax` loses
    nothing and draws spikes. Rounding before `argmax` is what many programs do to get the book's picture: it turns
    nearly equal numbers into equal ones, and `argmax` takes the first. With too few digits it also ties what is not
    tied, and the policy loses. With too many it is plain `argmax` again. The reliable way is a tolerance that is larger
    than the proven error of $q_*$, and all ties instead of one: `solve(m).optimal_actions`.
    """),
        source(rules),
    ])
    return


@app.function
def exact_ties(p, f):
    """best (99, 50) bool: every stake a with p f(s + a) + (1 - p) f(s - a) = f(s), in fractions."""
    best = np.zeros((GOAL - 1, GOAL // 2), bool)
    for s in range(1, GOAL):
        for a in range(1, min(s, GOAL - s) + 1):
            best[s - 1, a - 1] = p * f[s + a] + (1 - p) * f[s - a] == f[s]
    return best


@app.cell
def the_exact_ties(best, in_fractions, m, p):
    truly = exact_ties(Fraction(str(p)), in_fractions)
    true_policies = int(np.prod(truly.sum(axis=1).astype(object)))
    differ = int((truly != best[CAPITALS]).sum())
    pairs = int(m.admissible[CAPITALS].sum())
    if mo.app_meta().mode == "script":
        print(f"tied pairs: {truly.sum()} by fractions, {best[CAPITALS].sum()} by float64; {differ} differ")
    return differ, pairs, true_policies, truly


@app.cell(hide_code=True)
def show_the_exact_ties(best, bound, differ, p, p_slider, pairs, policies, true_policies, truly):
    mo.vstack([
        mo.md(r"""
    ## 4. How sure can a program be that two actions are tied?

    A computed tie means: the difference is below what float64 can prove. Fractions have no rounding. With the exact
    $v_*$ of section 2 we ask for every capital and stake whether $q_*(s,a) = v_*(s)$, digit for digit:
    """),
        row(p_slider),
        table({
            f"$p_h$ = {p:g}, {pairs:,} pairs of capital and stake": ["`solve` (float64)", "fractions"],
            "tied pairs": [int(best[CAPITALS].sum()), int(truly.sum())],
            "optimal deterministic policies": [scientific(policies), scientific(true_policies)],
            "pairs that differ": ["", differ],
        }),
        mo.md(
            r"""
    Here the two agree on every pair: what float64 calls a tie is one. Set $p_h$ to 0.6 to see the other case.
    """
            if differ == 0
            else rf"""
    At this $p_h$ theory says that timid play is the only optimum. `solve` finds more ties, and is right in its own
    terms: with $r = (1 - p_h) / p_h$, the stake $a$ loses $r^s (p_h r^a + (1 - p_h) r^{{-a}} - 1) / (1 - r^{{100}})$.
    For the stake 2 at capital 75 that is {loss_of(p, 75, 2):.1e}, and the proven error of $v$ is {bound:.1e}. A
    computed tie is "equal, as far as this arithmetic can tell". A computed *difference* beyond the bound is proven.
    """
        ),
        source(exact_ties),
    ])
    return


@app.function
def loss_of(p, s, a):
    """v_*(s) - q_*(s,a) for p > 1/2, in closed form."""
    r = (1 - p) / p
    return r**s * (p * r**a + (1 - p) * r**-a - 1) / (1 - r**GOAL)


@app.function
def first_tied(best):
    """The policy that takes the first of the tied actions."""
    return np.eye(best.shape[1])[best.argmax(axis=1)]


@app.function
def within(m, pi, steps):
    """The probability of the goal within so many steps: sweeps at gamma = 1."""
    return next(islice(sweeps(m.with_gamma(1.0), pi), steps, None))[m.state_index((0, 0))]


@app.cell
def the_lake(lake_gamma):
    lake = frozen_lake_8x8(gamma=lake_gamma)
    lake_v, _, lake_best, _ = optimal(lake)
    ways = {"first tied action": first_tied(lake_best), "`solve(m).policy`": solve(lake).policy}
    lake_values, refusal = [], ""
    for _pi in ways.values():
        try:
            lake_values.append(f"{evaluate(lake, _pi).v[0]:.10f}")
        except ValueError as e:
            lake_values.append("refused")
            refusal = str(e)
    return lake, lake_best, lake_v, lake_values, refusal, ways


@app.cell(hide_code=True)
def show_the_lake(lake, lake_best, lake_gamma, lake_slider, lake_v, lake_values, refusal, ways):
    mo.vstack([
        mo.md(r"""
    ## 5. Is every greedy policy optimal?

    For $\gamma < 1$, yes. At $\gamma = 1$ it is not enough to be greedy: some ties lead nowhere. FrozenLake 8x8 is
    slippery: a move goes where it should with probability 1/3, and to each side with probability 1/3. Reaching the
    goal pays 1. Along the upper and the right edge one can avoid every hole, so $v_* = 1$ at the start. But with
    $\gamma = 1$ nothing is lost by waiting, and pushing left at the left edge is "optimal" as well:
    """),
        row(lake_slider),
        draw_the_lake(lake, lake_v, lake_best, lake_gamma),
        table({
            rf"$\gamma = {lake_gamma:g}$": list(ways),
            "$v$ at the start (`evaluate`)": lake_values,
            "$v_*$ at the start": [f"{lake_v[0]:.10f}"] * 2,
            "goal within 100 steps": [within(lake, pi, 100) for pi in ways.values()],
            "within 1,000": [within(lake, pi, 1000) for pi in ways.values()],
        }),
        mo.md(
            rf"""
    Both policies are greedy with respect to $v_*$ in every state. One of them never reaches the goal. `evaluate` says:

    > {refusal}

    So at $\gamma = 1$ the policy that `solve` returns is greedy *and* proper: it surely ends, here after
    {occupancy(lake, ways["`solve(m).policy`"]).sum():.1f} steps on average. Whoever picks the first of the tied actions
    by hand has to check that.
    """
            if refusal
            else rf"""
    With $\gamma$ = {lake_gamma:g} waiting costs something, so those ties are gone, and the first tied action attains
    $v_*$. Set $\gamma = 1$ for the other case.
    """
        ),
        source(first_tied, within),
    ])  # fmt: skip
    return


@app.function
def goal_of_eight(p):
    """v_*(1), v_*(2), v_*(4), v_*(7) by hand, for a goal of 8 and p <= 1/2."""
    return [p**3, p**2, p, 1 - (1 - p) ** 3]


@app.function
def small_lake():
    """v_* of FrozenLake 4x4 at gamma = 1: the fraction with the smallest denominator within 1e-9."""
    m = frozen_lake()
    v = solve(m).v
    return {m.states[s]: Fraction(float(v[s])).limit_denominator(1000) for s in range(m.n_states)}


@app.function
def flips(m, stakes):
    """The mean number of flips from a capital that is drawn uniformly from 1 .. 99."""
    return occupancy(m, policy_of(m, stakes)).sum()


@app.cell(hide_code=True)
def exercises():
    _eight = solve(gambler(0.4, goal=8)).v
    _lake = small_lake()
    _m = gambler(0.4)
    _v, _q, _best, _ = optimal(_m)
    _rules = dict(list(rules(_m, _v, _best, _q, 1, 5).items())[:3])
    mo.vstack([
        mo.md("## 6. Exercises"),
        exercise(
            1,
            r"""*A goal of 8.* The gambler wants 8, not 100, and $p_h = .4$. What are $v_*(4)$, $v_*(2)$, $v_*(1)$ and
    $v_*(7)$?""",
            r"""Bold play. From 4 one flip decides: $p_h$. From 2 two heads are needed, from 1 three. From 7 it stakes
    1, then 2 from 6, then 4 from 4, and loses only if all three fail: $1 - (1 - p_h)^3$.""",
            table({"$s$": ["1", "2", "4", "7"],
                   "by hand": [f"{x:.10f}" for x in goal_of_eight(0.4)],
                   "`solve`": [f"{_eight[s]:.10f}" for s in (1, 2, 4, 7)]}),
            source(goal_of_eight),
        ),
        exercise(
            2,
            r"""*Seventeenths.* FrozenLake 4x4 at $\gamma = 1$: `solve` gives 0.8235294118 at the start. Which fraction
    is it? What about the other states?""",
            table({"": [f"row {i}" for i in range(4)],
                   **{f"column {j}": [_lake[i, j] for i in range(4)] for j in range(4)}}),
            r"""14/17. The slips make a system of linear equations with whole coefficients, and its determinant is a
    multiple of 17. A hole is worth 0.""",
            source(small_lake),
        ),
        exercise(
            3,
            r"""*Equal, but not alike.* All optimal policies of the gambler win with the same probability. How long do
    they play? Compare the smallest tied stakes, the largest, and bold play at $p_h = .4$.""",
            table({"": list(_rules),
                   "wins from 50": [f"{evaluate(_m, policy_of(_m, stakes)).v[50]:.10f}" for stakes in _rules.values()],
                   "mean number of flips": [f"{flips(_m, stakes):.6f}" for stakes in _rules.values()]}),
            r"""$v_*$ does not see the difference. A reward that does (say, a small cost per flip) would break the ties;
    so would $\gamma$ a little below 1.""",
            source(flips),
        ),
    ])  # fmt: skip
    return


@app.function
def draw_the_lake(lake, v, best, gamma):
    """v_* and all greedy actions; 64 cells on a smaller sheet, so that the letters are larger on the page."""
    figure = plot_board(lake, board_of(lake, ZOO["FrozenLake8x8"].cell), v=v, policy=equally(best),
                        title=rf"$v_*$ and all greedy actions, $\gamma$ = {gamma:g}")  # fmt: skip
    figure.set_size_inches(11.5, 5.5)
    return figure


@app.function
@styled
def draw_the_gambler(m, v, best, v_k, k, p):
    """Left: v_1, v_2, v_3, v_k and v_*. Right: all optimal stakes, the smallest, and argmax after k sweeps."""
    figure, (left, right) = panels(1, 1.25, width=11.5, height=4.6)
    s = np.arange(GOAL)
    early = {f"$v_{j}$": w[:GOAL] for j, w in enumerate(islice(sweeps(m), 4)) if j and j < k}
    curves = early | {f"$v_{{{k}}}$": v_k[:GOAL], "$v_*$": v[:GOAL]}
    kinds = dict.fromkeys(early, "0.75") | {f"$v_{{{k}}}$": SWEPT, "$v_*$": "exact"}
    draw_curves(left, s, curves, kinds=kinds, xlabel="capital", ylabel="probability of reaching 100",
                title=f"$p_h$ = {p:g}")  # fmt: skip
    tied = np.argwhere(best[CAPITALS]) + 1
    right.plot(tied[:, 0], tied[:, 1], ".", ms=5, color="0.6", label="all optimal stakes")
    right.plot(CAPITALS, best[CAPITALS].argmax(axis=1) + 1, drawstyle="steps-mid", lw=1.3, color="#0072B2",
               label="the smallest of them")  # fmt: skip
    right.plot(CAPITALS, m.backup(v_k)[CAPITALS].argmax(axis=1) + 1, "x", ms=5, color=SWEPT,
               label=f"argmax after sweep {k}")  # fmt: skip
    right.set(xlabel="capital", ylabel="stake", ylim=(0, 62), title="stakes")
    right.legend(loc="upper center", ncols=3, fontsize=8.5, handlelength=1.2, columnspacing=1)
    return figure


@app.function
def test_the_books_grid():
    v, _, best, _ = optimal(gridworld_5x5(0.9))
    expected = [21.9774852873, 24.4194280970, 21.9774852873, 19.4194280970, 17.4774852873]
    assert np.allclose(v[:5], expected, rtol=0, atol=1e-9)
    assert abs(v[1] - 10 / (1 - 0.9**5)) < 1e-9
    assert how_many(best, np.zeros(25, bool)) == 262_144


@app.function
def test_the_books_gambler():
    v, _, best, _ = optimal(gambler(0.4))
    assert np.allclose(v[[25, 50, 75]], [0.16, 0.4, 0.64], rtol=0, atol=1e-9)
    assert (np.flatnonzero(best[51]) + 1).tolist() == [1, 49]
    assert how_many(best[CAPITALS], np.zeros(99, bool)) == 79_496_847_203_390_844_133_441_536


@app.function
def test_fractions_agree_with_float64():
    for p in (0.25, 0.4, 0.5, 0.55, 0.75):
        f, v = exact_values(Fraction(str(p))), solve(gambler(p)).v
        assert max(abs(float(f[s]) - v[s]) for s in range(GOAL)) < 1e-10
    assert exact_values(Fraction(2, 5))[75] == Fraction(16, 25)
    assert (exact_ties(Fraction(2, 5), exact_values(Fraction(2, 5))) == optimal(gambler(0.4))[2][CAPITALS]).all()


@app.function
def test_the_lakes():
    assert small_lake()[0, 0] == Fraction(14, 17)
    for gamma, expected in ((1.0, 14 / 17), (0.99, 0.5420259320)):
        assert abs(solve(frozen_lake(gamma=gamma)).v[0] - expected) < 1e-9
    lake = frozen_lake_8x8()
    assert within(lake, first_tied(optimal(lake)[2]), 1000) == 0
    assert abs(evaluate(lake, solve(lake).policy).v[0] - 1) < 1e-9


@app.function
def test_solutions():
    v = solve(gambler(0.4, goal=8)).v
    assert np.allclose(v[[1, 2, 4, 7]], goal_of_eight(0.4), rtol=0, atol=1e-9)
    m = gambler(0.4)
    v, q, best, _ = optimal(m)
    for stakes in list(rules(m, v, best, q, 1, 5).values())[:3]:
        assert abs(evaluate(m, policy_of(m, stakes)).v[50] - 0.4) < 1e-9


if __name__ == "__main__":
    app.run()
