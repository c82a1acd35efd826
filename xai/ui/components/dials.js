// Sliders inside a component. A move asks the server for the new picture directly; only a pause tells the page, which
// costs a run of its script. What is said about a picture comes with it, so words and picture always agree.
const PAUSE = 400 // ms without a move until the page is told; while nobody serves pictures it is told at once
const PATIENCE = 250 // ms that an older question may take while a newer one waits
const AHEAD = 100 // ms; what takes longer is made ahead in the direction of the move only

function makeDials(root, { prepare, show, tell, keep }) {
  const host = root.querySelector(".dials")
  const state = { dials: [], live: null, serial: 0, shown: null, kept: new Map(), step: 1, took: 0, turn: 0 }

  const valuesAt = (moved, at) =>
    Object.fromEntries(
      state.dials.flatMap((dial) => {
        const place = dial === moved ? at : dial.at
        return dial.chosen || dial === moved ? [[dial.name, dial.values[place]]] : []
      }),
    )
  const questionAt = (moved, at) => new URLSearchParams(valuesAt(moved, at)).toString()

  function request(question) {
    // One answer for each question, also when it is still on its way; the longest unused goes first.
    const known = state.kept.get(question)
    if (known) {
      state.kept.delete(question)
      state.kept.set(question, known)
      return known
    }
    const entry = { question, serial: state.serial, since: performance.now(), stop: new AbortController() }
    entry.answer = ask(question, entry.stop.signal).finally(() => (entry.done = performance.now()))
    const forget = () => state.kept.get(question) === entry && state.kept.delete(question)
    entry.answer.then(({ data }) => data.problem && forget(), forget)
    state.kept.set(question, entry)
    for (const [old, { done }] of state.kept) if (done && state.kept.size > keep) state.kept.delete(old)
    return entry
  }

  async function ask(question, signal) {
    const { address, token } = state.live
    const separator = question ? "&" : ""
    const headers = { "X-Xai-View": token }
    const answer = await fetch(`${address}?${question}${separator}n=${state.serial}`, { headers, signal })
    if (answer.status !== 200 && answer.status !== 422) throw new Error(`status ${answer.status}`)
    return prepare(await answer.json())
  }

  async function follow() {
    // Show the newest position. An older one that is on its way may show itself meanwhile: a drag then moves.
    if (state.busy) return hurry()
    while (state.live && state.wanted !== state.shown) {
      const { live, wanted } = state
      state.busy = request(wanted)
      const { since, serial } = state.busy
      try {
        const ready = await state.busy.answer
        state.took = state.busy.done - since
        if (state.live?.token === live.token && state.wanted !== state.shown) paint(wanted, ready)
      } catch (error) {
        const current = state.live?.token === live.token && state.wanted === wanted
        const overtaken = error.name === "AbortError" || serial < state.serial // asked before the last move: ask again
        if (current && !overtaken) giveUp()
      }
    }
    state.busy = null
    lookAhead()
  }

  function hurry() {
    const late = state.busy
    const left = PATIENCE - (performance.now() - late.since)
    setTimeout(() => state.busy === late && state.wanted !== late.question && late.stop.abort(), Math.max(0, left))
  }

  function giveUp() {
    // Nobody serves this view (any more): go the ordinary way, by a run of the page, which may offer it anew.
    state.live = null
    say()
  }

  async function lookAhead() {
    // Make the neighbours of what is shown, one after another, so that the next press paints from memory.
    const turn = ++state.turn
    const dial = state.moved
    if (!dial || !state.live) return
    const places = [dial.at + state.step, dial.at - state.step]
    if (state.took < AHEAD) places.splice(1, 0, dial.at + 2 * state.step)
    else places.pop()
    const inside = places.filter((at) => at >= 0 && at < dial.values.length)
    for (const question of inside.map((at) => questionAt(dial, at))) {
      state.ahead = request(question)
      await state.ahead.answer.catch(() => null)
      if (turn !== state.turn || !state.live) return
    }
  }

  function stopAhead() {
    state.turn++
    if (state.ahead && !state.ahead.done && state.ahead.question !== state.wanted) state.ahead.stop.abort()
  }

  function paint(question, ready, behind = false) {
    state.shown = question
    state.address = ready.data.address
    showTexts(ready.data)
    show(ready, behind)
  }

  function showTexts({ texts, problem }) {
    state.dials.forEach((dial, i) => {
      const text = texts?.[dial.name] ?? (problem ? String(dial.values[dial.at]) : "")
      host.children[i].querySelector("output").textContent = text
      host.children[i].querySelector("input").setAttribute("aria-valuetext", text)
    })
  }

  function say() {
    if (!state.timer) return
    clearTimeout(state.timer)
    state.timer = 0
    const shown = state.shown === state.wanted
    if (state.address && shown) writeAddress(state.address)
    tell({ serial: state.serial, values: valuesAt(), shown })
  }

  function move(dial, at) {
    state.step = at < dial.at ? -1 : 1
    Object.assign(dial, { at, chosen: true })
    Object.assign(state, { moved: dial, wanted: questionAt() })
    stamp()
    clearTimeout(state.timer)
    state.timer = setTimeout(say, state.live ? PAUSE : 60)
    stopAhead()
    follow()
  }

  function stamp() {
    state.serial = Math.max(Date.now(), state.serial + 1)
    return state.serial
  }

  function build(dial) {
    const [part, line, label, text, input] = ["div", "div", "label", "output", "input"].map((tag) =>
      document.createElement(tag),
    )
    part.className = "dial"
    line.className = "line"
    input.type = "range"
    input.id = label.htmlFor = `dial-${dial.name}`
    label.textContent = dial.label
    text.setAttribute("for", input.id)
    line.append(label, text)
    part.append(line, input)
    return part
  }

  function place(dials) {
    const names = (list) => list.map((dial) => dial.name).join()
    if (names(dials) !== names(state.dials)) host.replaceChildren(...dials.map(build))
    state.dials = dials.map((dial) => ({ ...dial }))
    host.hidden = dials.length === 0
    state.dials.forEach((dial, i) => {
      const input = host.children[i].querySelector("input")
      Object.assign(input, { min: 0, max: dial.values.length - 1, step: 1, value: dial.at })
      input.oninput = () => move(dial, Number(input.value))
      input.onblur = say
      input.onfocus = () => {
        state.moved = dial
        if (!state.busy) lookAhead()
      }
    })
    state.moved = state.dials.find((dial) => dial.name === state.moved?.name)
  }

  function ownPositions(dials) {
    // Dials as the page sees them, moved to where the person has moved them since.
    return dials.map((dial) => {
      const mine = state.dials.find((each) => each.name === dial.name)
      const at = mine ? dial.values.indexOf(mine.values[mine.at]) : -1
      return at < 0 ? dial : { ...dial, at, chosen: mine.chosen }
    })
  }

  async function update(data) {
    // The page has something to say; what the person did since stays.
    state.given = data
    const ready = await prepare(data)
    if (state.given !== data) return
    const renewed = state.live?.token !== data.live?.token
    if (renewed) {
      for (const { stop } of state.kept.values()) stop.abort()
      state.kept.clear()
    }
    const behind = data.serial < state.serial
    state.live = data.live
    state.serial = Math.max(state.serial, data.serial)
    place(behind ? ownPositions(data.dials) : data.dials)
    state.wanted = questionAt()
    if (behind && data.live) {
      if (renewed) state.shown = null
      return follow()
    }
    paint(behind ? null : state.wanted, ready, behind)
    if (!behind) writeAddress(data.address)
  }

  function stop() {
    clearTimeout(state.timer)
    stopAhead()
    state.live = null
  }

  return { update, say, stamp, stop, values: () => valuesAt() }
}
