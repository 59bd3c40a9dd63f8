"""Tutorial 6: the best policy may be a coin. Sutton & Barto (2nd ed.), section 13.1.

marimo run tutorials/06_the_best_policy_may_be_a_coin.py      in a browser, with sliders
python tutorials/06_the_best_policy_may_be_a_coin.py          prints the best coin, climbed to and in closed form
pytest tutorials/06_the_best_policy_may_be_a_coin.py          runs the tests at its end
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="The best policy may be a coin")

with app.setup:
    import marimo as mo
    import numpy as np
    import torch
    from course import exercise, row, source, table
    from scipy.optimize import minimize_scalar

    from agents import (
        ExactAscent,
        ReinforceLoss,
        SoftmaxPolicy,
        TabularPreferences,
        audit,
        exact_objective,
        plain_ascent,
        rollout,
    )
    from envs import bandit, short_corridor
    from mdp import evaluate, solve
    from mdp.plot import color_of, draw_curves, panels, plot_graph, styled

    LEFT, RIGHT = 0, 1
    BEST = 2 - np.sqrt(2)
    DRAWS = 1000

    torch.set_num_threads(1)  # the tensors here are so small that threads would wait for one another


@app.cell(hide_code=True)
def introduction():
    mo.md(r"""
    # The best policy may be a coin

    $$\pi(a|s) = \frac{e^{h(s,a)}}{\sum_b e^{h(s,b)}}, \qquad J(p) = -2\,\frac{2 - p}{p\,(1 - p)}$$

    On the left, the softmax policy of preferences $h$. On the right, what a coin that shows *right* with probability
    $p$ earns in the short corridor, Example 13.1 of the book. There the agent cannot see where it is, and if it chooses
    by what it sees, it gets out by the coin or not at all. Four questions get a number for an answer:

    1. What is the closed form of Example 13.1? (section 2)
    2. Why is no deterministic policy best here, if one always is in an MDP? (section 3)
    3. Does gradient ascent on the preferences find the best coin? (section 4)
    4. Temperature, top-k, top-p: what is sampled, and what is scored? (section 5)

    Notation is that of Sutton & Barto, 2nd edition; $\gamma = 1$.
    """)
    return


@app.cell
def the_sliders():
    p_slider = mo.ui.slider(
        steps=[k / 20 for k in range(2, 19)], value=0.5, label=r"$p = \pi(\text{right}|s)$", show_value=True
    )
    epsilon_slider = mo.ui.slider(
        steps=[0.02, 0.05, *(k / 10 for k in range(1, 11))], value=0.1, label=r"$\varepsilon$", show_value=True
    )
    alpha_slider = mo.ui.slider(steps=[0.005, 0.01, 0.02, 0.05], value=0.05, label=r"$\alpha$", show_value=True)
    temperature_slider = mo.ui.slider(steps=[0.25, 0.5, 1.0, 2.0, 4.0], value=1.0, label="temperature", show_value=True)
    k_slider = mo.ui.slider(1, 10, value=4, label="top-k", show_value=True)
    top_p_slider = mo.ui.slider(steps=[k / 10 for k in range(1, 11)], value=1.0, label="top-p", show_value=True)
    other_draws = mo.ui.button(value=0, on_click=lambda n: n + 1, label="other draws")
    return alpha_slider, epsilon_slider, k_slider, other_draws, p_slider, temperature_slider, top_p_slider


@app.cell
def the_reset_button():
    reset = mo.ui.button(label="reset")
    return (reset,)


@app.cell
def the_step_button(alpha_slider, p_slider, reset):
    alpha_slider, p_slider, reset  # each of them makes the button anew, and its count is 0 again
    step_button = mo.ui.button(value=0, on_click=lambda n: n + 1, label="step")
    return (step_button,)


@app.cell
def values_of_the_controls(alpha_slider, p_slider, step_button):
    p, alpha, steps = p_slider.value, alpha_slider.value, step_button.value
    return alpha, p, steps


@app.cell
def value_of_epsilon(epsilon_slider):
    epsilon = epsilon_slider.value  # a cell of its own: what does not depend on it is not computed again
    return (epsilon,)


@app.cell
def values_of_the_decoding(k_slider, other_draws, temperature_slider, top_p_slider):
    temperature, top_k, top_p, seed = temperature_slider.value, k_slider.value, top_p_slider.value, other_draws.value
    return seed, temperature, top_k, top_p


@app.function
def coin(x, shift=0.0, temperature=1.0):
    """The softmax policy with h(left) = shift and h(right) = shift + x: one row, as there is one observation."""
    policy = SoftmaxPolicy(TabularPreferences(short_corridor()), temperature=temperature).double()
    with torch.no_grad():
        policy.preferences.theta[0] = torch.tensor([shift, shift + x], dtype=torch.float64)
    return policy


@app.function
def preference(p):
    """The difference of the preferences, h(right) - h(left), at which pi(right|s) = p."""
    return float(np.log(p / (1 - p)))


@app.function
def chance_of_right(policy):
    return policy.matrix(short_corridor())[0, RIGHT].item()


@app.cell(hide_code=True)
def show_the_corridor():
    _m = short_corridor()
    _pi = _m.uniform_policy()
    mo.vstack([
        mo.md(r"""
    ## 1. A coin from preferences

    An episode starts in state 0 and ends at the goal; every step pays $-1$. In state 1 the actions are switched:
    *right* goes to state 0, and *left* goes to state 2. In state 0, *left* stays there.
    """),
        plot_graph(_m, v=evaluate(_m, _pi).v, policy=_pi, title="the colour is $v$ under a fair coin"),
    ])
    return


@app.cell(hide_code=True)
def show_the_preferences(p, p_slider):
    x = preference(p)
    _coins = [(x, 0.0, 1.0), (x, 1.0, 1.0), (x, -100.0, 1.0), (2 * x, 0.0, 1.0), (2 * x, 0.0, 2.0)]
    _p = [chance_of_right(coin(*given)) for given in _coins]
    mo.vstack([
        mo.md(r"""
    The agent sees the same in all states (*state aliasing*), so $h$ is one number for each action, and the policy is
    the same coin everywhere. A preference is no probability and no value: any two numbers will do, and *only their
    difference counts*, because a shift of all of them cancels in the softmax. A temperature $T$ divides them:
    $h / T$.
    """),
        row(p_slider),
        table({
            r"$h(\text{left})$": [shift for _, shift, _ in _coins],
            r"$h(\text{right})$": [shift + z for z, shift, _ in _coins],
            "$T$": [f"{T:g}" for *_, T in _coins],
            r"$\pi(\text{right}\vert s)$": _p,
            "off the first by": [f"{q - _p[0]:.1e}" for q in _p],
        }),
        mo.md(r"""
    Twice the difference (row 4) is another coin, unless $p = .5$; at twice the temperature (row 5) it is the first one
    again. Here $h(\text{right}) - h(\text{left}) = \log\frac{p}{1 - p}$, so every coin with $0 < p < 1$ is within
    reach, and those with $p = 0$ and $p = 1$ are limits.
    """),
        source(coin),
    ])
    return


@app.function
def three_equations(p):
    """v(0), v(1), v(2) from the three Bellman equations, sorted as A v = -1."""
    q = 1 - p
    A = np.array([
        [1 - q, -p, 0],  # v(0) = -1 + q v(0) + p v(1)
        [-p, 1, -q],     # v(1) = -1 + q v(2) + p v(0), the switched state
        [0, -q, 1],      # v(2) = -1 + q v(1)
    ])  # fmt: skip
    return np.linalg.solve(A, [-1, -1, -1])


@app.function
def closed_form(p):
    """v(0), v(1), v(2). J is the first: -4/p - 2/(1-p) = -2 (2-p) / (p (1-p))."""
    return np.array([-4 / p - 2 / (1 - p), -3 / p - 2 / (1 - p), -3 / p])


@app.function
def evaluated(p):
    """v(0), v(1), v(2) of the package."""
    m = short_corridor()
    return evaluate(m, np.tile([1 - p, p], (m.n_states, 1))).v[:3]


@app.function
def refusal(p):
    """What `evaluate` says to a coin that never ends."""
    try:
        return str(evaluated(p))
    except ValueError as error:
        return str(error)


@app.cell
def the_closed_form(p):
    by_hand, by_system, by_package = closed_form(p), three_equations(p), evaluated(p)
    return by_hand, by_package, by_system


@app.cell(hide_code=True)
def show_the_closed_form(by_hand, by_package, by_system, epsilon, p, p_slider):
    mo.vstack([
        mo.md(r"""
    ## 2. What is the closed form of Example 13.1?

    With $p = \pi(\text{right}|s)$ the Bellman equations of the three states are

    $$\begin{aligned}
    v(0) &= -1 + (1-p)\,v(0) + p\,v(1) \\
    v(1) &= -1 + (1-p)\,v(2) + p\,v(0) \\
    v(2) &= -1 + (1-p)\,v(1)
    \end{aligned}$$

    The first one says $v(0) = v(1) - 1/p$. Put this and the third one into the second:
    $v(1)\,\big(1 - p - (1-p)^2\big) = -(3 - p)$. The bracket is $p\,(1-p)$. So $v(1) = -\frac{3 - p}{p (1 - p)}$, and

    $$J(p) = v(0) = -\frac{3 - p}{p\,(1 - p)} - \frac1p = -2\,\frac{2 - p}{p\,(1 - p)} = -\frac4p - \frac2{1 - p}$$
    """),
        row(p_slider),
        table({
            f"p = {p:g}": ["v(0) = J", "v(1)", "v(2)"],
            "closed form": [f"{v:.10f}" for v in by_hand],
            "3 x 3 system": [f"{v:.10f}" for v in by_system],
            "`evaluate`": [f"{v:.10f}" for v in by_package],
            "closed form - `evaluate`": [f"{v:.1e}" for v in by_hand - by_package],
        }),
        mo.md(rf"""
    The last form of $J$ shows its two walls, $4/p$ on the left and $2/(1-p)$ on the right. It is largest where
    $4/p^2 = 2/(1-p)^2$, that is $p = \sqrt2\,(1 - p)$, or $p = 2 - \sqrt2$, with $J = -(6 + 4\sqrt2)$. In numbers:
    p = {BEST:.10f}, J = {closed_form(BEST)[0]:.10f}; the book prints .59 and -11.6.
    """),
        draw_coins(p, epsilon),
        source(three_equations, closed_form),
    ])
    return


@app.cell
def the_sights(epsilon, p):
    full_sight = solve(short_corridor())
    greedy_right, greedy_left = (float(evaluated(q)[0]) for q in (1 - epsilon / 2, epsilon / 2))
    _m = short_corridor()
    q_coin = evaluate(_m, np.tile([1 - p, p], (_m.n_states, 1))).q[:3]
    return full_sight, greedy_left, greedy_right, q_coin


@app.cell(hide_code=True)
def show_the_sights(epsilon, epsilon_slider, full_sight, greedy_left, greedy_right, p, p_slider, q_coin):
    _m = short_corridor()
    better = [_m.actions[a] for a in q_coin.argmax(axis=1)]
    mo.vstack([
        mo.md(r"""
    ## 3. Why is no deterministic policy best here?

    In an MDP some deterministic policy is always best, *if the agent sees the state*: it may take a best action in each
    state by itself. `solve` assumes that. Its policy takes *right*, *left*, *right*, and three steps. An agent that
    sees nothing has two deterministic policies, and neither ever ends. `evaluate` refuses them:
    """),
        mo.md(f"""
    - always *right*: "{refusal(1.0)}"
    - always *left*: "{refusal(0.0)}"
    """),
        mo.md(r"""
    An $\varepsilon$-greedy policy takes a random action with probability $\varepsilon$, so its favourite one has
    probability $1 - \varepsilon/2$. It is a coin too, and not a good one:
    """),
        row(epsilon_slider, p_slider),
        table({
            "policy": ["full sight, `solve`", "the best coin", f"the coin p = {p:g}",
                       f"{epsilon:g}-greedy, right", f"{epsilon:g}-greedy, left"],
            "p": ["", f"{BEST:.6f}", p, 1 - epsilon / 2, epsilon / 2],
            "J": [f"{J:.10f}" for J in (full_sight.v[0], evaluated(BEST)[0], evaluated(p)[0],
                                        greedy_right, greedy_left)],
        }),
        mo.md(rf"""
    At $\varepsilon = .1$ the book reads -44 and -82 off its figure. The best $\varepsilon$ would be
    {2 * (1 - BEST):.4f}. The coin is not there for exploring, it *is* the solution.

    What goes wrong shows in $q_\pi$ of the coin at the slider: the states do not want the same.
    """),
        table({
            "$s$": [0, 1, 2],
            r"$q_\pi(s, \text{left})$": q_coin[:, LEFT],
            r"$q_\pi(s, \text{right})$": q_coin[:, RIGHT],
            "better": better,
        }),
        mo.md(r"""
    With one row of preferences for three states, "the greedy action" is nobody's best action. And $J$ is not linear in
    $p$, so its maximum need not be at an end of the interval. From values alone, a method that acts greedily cannot
    represent the coin; a softmax of preferences can, and that is one reason why the book turns to it in chapter 13.
    (An agent that remembers how many steps it has made needs no coin: *right*, *left*, *right*.)
    """),
    ])  # fmt: skip
    return


@app.function
def climb(p, alpha, steps):
    """theta <- theta + alpha grad J(theta), from the coin p: (p, J) before every step and after the last."""
    m, policy = short_corridor(), coin(preference(p))
    ascent, path = ExactAscent(policy, m, optimizer=plain_ascent(policy, alpha)), []
    for k in range(steps + 1):
        path.append((chance_of_right(policy), exact_objective(policy, m).item()))
        if k < steps:
            ascent.update(None)  # it reads no episodes: grad J is exact
    return np.array(path)


@app.cell
def the_climb(alpha, p, steps):
    path = climb(p, alpha, steps)
    if mo.app_meta().mode == "script":
        _p, _J = climb(p, alpha, 60)[-1]
        print(f"climbed to p = {_p:.10f}, J = {_J:.10f}")
        print(f"closed form p = {BEST:.10f}, J = {closed_form(BEST)[0]:.10f}")
    return (path,)


@app.cell(hide_code=True)
def show_the_climb(alpha_slider, p_slider, path, reset, step_button, steps):
    last = path[-6:]
    mo.vstack([
        mo.md(r"""
    ## 4. Does gradient ascent find the best coin?

    $$\theta \leftarrow \theta + \alpha\,\nabla J(\theta), \qquad
    \theta = (h(\text{left}), h(\text{right})), \qquad \nabla J \text{ exact}$$

    Each press of *step* is one update. *reset* starts again from the coin at the slider.
    """),
        row(step_button, reset, alpha_slider, p_slider),
        draw_climb(path),
        table({
            "step": [steps - len(last) + 1 + k for k in range(len(last))],
            "p": [f"{p_k:.10f}" for p_k, _ in last],
            "J": [f"{J_k:.10f}" for _, J_k in last],
            "J below the best by": [f"{closed_form(BEST)[0] - J_k:.2e}" for _, J_k in last],
        }),
        mo.md(r"""
    The curve has one hill, and small enough steps climb it to its top, the coin $p = 2 - \sqrt2$, from both sides; the
    preferences stay finite. (In an MDP whose states are seen, the best policy is deterministic, and the softmax reaches
    it only in the limit of infinite differences.) Try the largest $\alpha$ from the far left: near the walls the
    gradient is large, and the first step leaps over the top. Where the gradient itself comes from, without
    backpropagation, is the subject of tutorial 7.
    """),
        source(climb),
    ])
    return


@app.function
def decoding(temperature=1.0, top_k=None, top_p=None):
    """A softmax policy on the ten-armed bandit; the preference of an arm is its mean reward."""
    m = bandit()
    policy = SoftmaxPolicy(TabularPreferences(m), temperature=temperature, top_k=top_k, top_p=top_p).double()
    with torch.no_grad():
        policy.preferences.theta[0] = torch.tensor(m.expected_reward[0])
    return policy


@app.function
def draws(policy, n, seed):
    """How often each arm is drawn in n episodes."""
    m = bandit()
    played = rollout(policy, m, n, generator=torch.Generator().manual_seed(seed))
    return np.bincount(played.actions[:, 0], minlength=m.n_actions)


@app.function
def sampled_and_scored(policy):
    """Two audits of REINFORCE: scored as sampled; and scored by the plain softmax of the same preferences."""
    m, plain = bandit(), SoftmaxPolicy(policy.preferences)
    right = audit(ReinforceLoss(), policy, m)
    wrong = audit(ReinforceLoss(), plain, m, behaviour=policy, objective=lambda _, m: exact_objective(policy, m))
    return right, wrong


@app.cell
def the_decoding(seed, temperature, top_k, top_p):
    decoded = decoding(temperature, top_k, top_p)
    counts = draws(decoded, DRAWS, seed)
    right, wrong = sampled_and_scored(decoded)
    return counts, decoded, right, wrong


@app.cell(hide_code=True)
def show_the_decoding(
    counts, decoded, k_slider, other_draws, right, temperature, temperature_slider, top_k, top_p, top_p_slider, wrong
):
    _m = bandit()
    _pi, _plain = (policy.matrix(_m)[0].detach().numpy() for policy in (decoded, decoding()))
    best_arm = int(decoded.greedy(_m.observations[:1])[0])
    mo.vstack([
        mo.md(r"""
    ## 5. Temperature, top-k, top-p: what is sampled, and what is scored?

    With more actions than two there is more to cut off. Ten arms, `envs.bandit`; the preference of an arm is its mean
    reward. The order is: divide by the temperature; keep the $k$ largest (*top-k*); of these, keep the fewest that
    together have at least the probability *top-p*; softmax over what is left. *Greedy* is the end of each: temperature
    to 0, top-1, or top-p to 0.
    """),
        row(temperature_slider, k_slider, top_p_slider, other_draws),
        draw_decoding(_plain, _pi, counts),
        table({
            "policy": ["plain softmax", f"temperature {temperature:g}, top-{top_k}, top-p {top_p:g}", "greedy"],
            "arms that can be drawn": [10, int((_pi > 0).sum()), 1],
            "J": [f"{_plain @ _m.expected_reward[0]:.10f}", f"{_pi @ _m.expected_reward[0]:.10f}",
                  f"{_m.expected_reward[0, best_arm]:.10f}"],
            "probability of the best arm": [f"{_plain[best_arm]:.6f}", f"{_pi[best_arm]:.6f}", "1.000000"],
            f"share in {DRAWS:,} draws": ["", f"{counts[best_arm] / DRAWS:.4f}", ""],
            "exact standard error": ["", f"{np.sqrt(_pi[best_arm] * (1 - _pi[best_arm]) / DRAWS):.4f}", ""],
        }),
        mo.md(r"""
    Learning needs $\nabla\log\pi(A|s)$ of the $\pi$ that drew $A$. Many programs sample with top-k and score with the
    whole softmax. `audit` takes the exact mean of REINFORCE's gradient over all draws, and holds it against $\nabla J$
    of the policy that acts:
    """),
        table({
            "scored by": ["the policy that is sampled", "the plain softmax"],
            "verdict": [right.verdict, wrong.verdict],
            "relative error": [f"{x.relative_error:.6f}" for x in (right, wrong)],
            "cosine with the gradient": [f"{x.cosine:.6f}" for x in (right, wrong)],
        }),
        mo.md(r"""
    At temperature 1 with top-10 and top-p 1 the two are one policy, and both are exact. (Where one arm alone is left,
    $\nabla J = 0$: the cosine does not exist, and the plain softmax gets a gradient where there is none.) This is why
    temperature, top-k and top-p live inside `SoftmaxPolicy`, once, for sampling and for scoring.
    """),
        source(decoding, sampled_and_scored),
    ])  # fmt: skip
    return


@app.function
def best_temperature(x=1.0):
    """The temperature at which preferences that differ by x are the best coin, and J there."""
    T = x / preference(BEST)
    return T, exact_objective(coin(x, temperature=T), short_corridor()).item()


@app.function
def some_sight():
    """(p, J) of the best coin for states 0 and 1, where the agent sees that it is in state 2, and goes right."""
    m = short_corridor()

    def minus_J(p):
        pi = np.array([[1 - p, p], [1 - p, p], [0, 1], [0, 0]])
        return -evaluate(m, pi).objective

    found = minimize_scalar(minus_J, bounds=(0.01, 0.99), method="bounded", options={"xatol": 1e-9})
    return found.x, -found.fun


@app.function
def best_epsilon():
    """(epsilon, J) of the best epsilon-greedy policy that favours right."""
    found = minimize_scalar(
        lambda e: -evaluated(1 - e / 2)[0], bounds=(0.01, 1), method="bounded", options={"xatol": 1e-9}
    )
    return found.x, -found.fun


@app.cell(hide_code=True)
def exercises():
    epsilon_found, J_epsilon = best_epsilon()
    T_found, J_T = best_temperature()
    p_found, J_sight = some_sight()
    mo.vstack([
        mo.md("## 6. Exercises"),
        exercise(
            1,
            r"""*Epsilon by hand.* What is $J$ of the $\varepsilon$-greedy policies at $\varepsilon = .1$? Which
    $\varepsilon$ is the best one for a policy that favours *right*?""",
            r"""$p = 1 - \varepsilon/2 = .95$ and $p = .05$: $J = -2 \cdot 1.05 / (.95 \cdot .05)$ and
    $-2 \cdot 1.95 / (.05 \cdot .95)$. The best $\varepsilon$ makes $1 - \varepsilon/2 = 2 - \sqrt2$, so
    $\varepsilon = 2\sqrt2 - 2$.""",
            table({
                "": ["J, favours right", "J, favours left", "best epsilon", "J there"],
                "by hand": [f"{x:.10f}" for x in (-2 * 1.05 / (0.95 * 0.05), -2 * 1.95 / (0.05 * 0.95),
                                                  2 * np.sqrt(2) - 2, -(6 + 4 * np.sqrt(2)))],
                "by `evaluate`": [f"{x:.8f}" for x in (evaluated(0.95)[0], evaluated(0.05)[0],
                                                       epsilon_found, J_epsilon)],
            }),
            source(best_epsilon),
        ),
        exercise(
            2,
            r"""*The best temperature.* The preferences are $h(\text{left}) = 0$ and $h(\text{right}) = 1$. Which
    temperature makes them the best coin?""",
            r"""$\log\frac{p}{1-p} = 1/T$ with $p = 2 - \sqrt2$. There $p / (1 - p) = \sqrt2$, so $T = 2 / \log 2$.""",
            table({"": ["T", "J"], "by hand": [f"{2 / np.log(2):.10f}", f"{-(6 + 4 * np.sqrt(2)):.10f}"],
                   "code": [f"{T_found:.10f}", f"{J_T:.10f}"]}),
            source(best_temperature),
        ),
        exercise(
            3,
            r"""*A little sight.* Let the agent see when it is in state 2, and go *right* there. States 0 and 1 still
    look alike. Is a deterministic policy best now? Find the best coin for states 0 and 1 with pencil and paper.""",
            r"""Always *left* stays in state 0, always *right* goes to and fro between 0 and 1: a coin is still needed.
    With $v(2) = -1$ the first two equations give $J(p) = -\big(1 + \frac{2}{1-p} + \frac1p\big)$, which is largest
    where $\sqrt2\, p = 1 - p$: $p = \sqrt2 - 1$, $J = -(4 + 2\sqrt2)$. A little sight is worth almost 5 steps.""",
            table({"": ["p", "J"], "by hand": [f"{np.sqrt(2) - 1:.8f}", f"{-(4 + 2 * np.sqrt(2)):.8f}"],
                   "code": [f"{p_found:.8f}", f"{J_sight:.8f}"]}),
            source(some_sight),
        ),
    ])  # fmt: skip
    return


@app.function
@styled
def draw_coins(p, epsilon):
    """J over p, with the best coin, the coin of the slider, and the two epsilon-greedy policies."""
    figure, (axes,) = panels(width=9.5, height=4)
    ps = np.linspace(0.01, 0.99, 300)
    draw_curves(axes, ps, {"J(p)": [closed_form(q)[0] for q in ps]}, kinds={"J(p)": "exact"},
                levels={"full sight: -3": -3.0})  # fmt: skip
    axes.plot(BEST, closed_form(BEST)[0], "*", ms=16, color=color_of("exact"), label=r"best: $p = 2 - \sqrt{2}$")
    for q, name, mark in ((1 - epsilon / 2, "right", ">"), (epsilon / 2, "left", "<")):
        axes.plot(q, max(closed_form(q)[0], -97), mark, ms=10, color="dimgrey", clip_on=False,
                  label=rf"$\varepsilon$-greedy, {name}: {closed_form(q)[0]:.1f}")  # fmt: skip
    axes.plot(p, closed_form(p)[0], "o", ms=9, color="black", label=f"p = {p:g}: {closed_form(p)[0]:.4f}")
    axes.set(xlabel="p, the probability of right", ylabel="J", xlim=(0, 1), ylim=(-100, 3))
    axes.legend(loc="lower center", ncols=2)
    return figure


@app.function
@styled
def draw_climb(path):
    """The climb on the curve, and J over the steps."""
    figure, (left, right) = panels(1.2, 1, width=11, height=3.9)
    best, (p, J) = closed_form(BEST)[0], path.T
    low = min(J.min(), -20.0)
    ps = np.linspace(0.02, 0.98, 300)
    Js = np.array([closed_form(q)[0] for q in ps])
    draw_curves(left, ps[low * 1.05 < Js], {"J(p)": Js[low * 1.05 < Js]}, kinds={"J(p)": "exact"})
    left.plot(p, J, "o-", color="black", lw=1, ms=5)
    left.plot(p[-1], J[-1], "o", color=color_of("exact"), ms=10, mec="black")
    left.set(xlabel="p", ylabel="J", xlim=(0, 1), title="where the climb is")
    draw_curves(right, np.arange(len(J)), {"J after so many steps": J}, kinds={"J after so many steps": "exact"},
                levels={"the best coin": best}, marker="o", xlabel="steps", title="what it earns")  # fmt: skip
    right.set(xlim=(-0.5, max(len(J), 10)), ylim=(low * 1.05, best + 0.06 * (best - low)))
    right.legend(loc="lower right")
    return figure


@app.function
@styled
def draw_decoding(plain, pi, counts):
    """The plain softmax, what is left of it, and how often each arm was drawn, on its exact standard error."""
    figure, (axes,) = panels(width=10, height=3.9)
    arms, n = np.arange(len(pi)), counts.sum()
    axes.bar(arms, pi, width=0.75, color=color_of("exact"), alpha=0.75, label="sampled from: exact probability")
    axes.bar(arms, plain, width=0.75, fill=False, edgecolor="black", ls="--", lw=1.3, label="plain softmax")
    axes.errorbar(arms, counts / n, yerr=2 * np.sqrt(pi * (1 - pi) / n), fmt="o", color=color_of("sampled"), capsize=4,
                  label=rf"share in {n:,} draws $\pm$ 2 exact standard errors")  # fmt: skip
    axes.set(xlabel="arm", ylabel="probability", xticks=arms, ylim=(0, 1.25 * max(pi.max(), plain.max())))
    axes.legend(loc="upper left")
    return figure


@app.function
def test_the_closed_form_and_the_best_coin():
    for p in (0.05, 0.3, 0.5, 0.9):
        assert np.allclose(closed_form(p), evaluated(p), rtol=1e-11, atol=0)
        assert np.allclose(three_equations(p), evaluated(p), rtol=1e-11, atol=0)
        assert abs(closed_form(p)[0] + 2 * (2 - p) / (p * (1 - p))) < 1e-10
    assert abs(BEST - 0.5857864376) < 1e-9
    assert abs(evaluated(BEST)[0] + 11.6568542495) < 1e-9
    assert abs(evaluated(0.95)[0] + 44.2105263158) < 1e-9
    assert abs(evaluated(0.05)[0] + 82.1052631579) < 1e-9


@app.function
def test_full_sight_needs_three_steps_and_no_coin():
    best = solve(short_corridor())
    assert np.allclose(best.v[:3], [-3, -2, -1], rtol=0, atol=1e-12)
    assert best.policy[:3].argmax(axis=1).tolist() == [RIGHT, LEFT, RIGHT]
    assert "never" in refusal(1.0) or "end" in refusal(1.0)


@app.function
def test_the_softmax_knows_differences_alone():
    assert abs(chance_of_right(coin(0.7, shift=-100.0)) - chance_of_right(coin(0.7))) < 1e-12
    assert abs(chance_of_right(coin(1.4, temperature=2.0)) - chance_of_right(coin(0.7))) < 1e-12


@app.function
def test_the_climb_ends_at_the_best_coin():
    for p in (0.1, 0.9):
        p_60, J_60 = climb(p, 0.05, 60)[-1]
        assert abs(p_60 - (2 - np.sqrt(2))) < 1e-9
        assert abs(J_60 + 6 + 4 * np.sqrt(2)) < 1e-9


@app.function
def test_what_is_sampled_must_be_scored():
    assert [x.verdict for x in sampled_and_scored(decoding(1.0, 4, 1.0))] == ["exact", "biased"]
    assert [x.verdict for x in sampled_and_scored(decoding(1.0, 10, 1.0))] == ["exact", "exact"]


@app.function
def test_solutions():
    assert np.allclose(best_epsilon(), [2 * np.sqrt(2) - 2, -(6 + 4 * np.sqrt(2))], rtol=0, atol=1e-6)
    assert np.allclose(best_temperature(), [2 / np.log(2), -(6 + 4 * np.sqrt(2))], rtol=0, atol=1e-9)
    assert np.allclose(some_sight(), [np.sqrt(2) - 1, -(4 + 2 * np.sqrt(2))], rtol=0, atol=1e-6)


if __name__ == "__main__":
    app.run()
