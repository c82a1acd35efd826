// Show pictures of one scene side by side and read the value under the pointer, or under the arrow keys, in all of them.
const instances = new WeakMap()

function element(tag, className) {
  const made = document.createElement(tag)
  if (className) made.className = className
  return made
}

function create(root) {
  const find = (selector) => root.querySelector(selector)
  const view = { data: null, spot: null, table: null }
  const host = find(".viewer")

  function buildPanel(panel) {
    const figure = element("figure")
    const frame = element("div", "frame")
    const across = element("div", "across")
    const down = element("div", "down")
    frame.append(element("img"), across, down)
    figure.append(frame, element("figcaption"))
    frame.onpointermove = (event) => point(event, frame, panel)
    frame.onpointerleave = () => clear()
    return figure
  }

  function drawLegend() {
    const { table, low, high, unit } = view.data
    find(".legend").hidden = !table
    if (!table) return
    find(".low").textContent = number(low)
    find(".high").textContent = `${number(high)}${unit ? ` ${unit}` : ""}`
    if (view.table === table) return
    view.table = table
    const context = find(".bar").getContext("2d")
    const colours = bytes(table)
    const strip = context.createImageData(256, 1)
    for (let i = 0; i < 256; i++) strip.data.set([colours[3 * i], colours[3 * i + 1], colours[3 * i + 2], 255], 4 * i)
    context.putImageData(strip, 0, 0)
  }

  function cell([x, y]) {
    // Source pixel -> cell of the value grid, or null outside what the network saw.
    const [left, top, right, bottom] = view.data.box
    const [columns, rows] = view.data.grid
    const column = Math.floor(((x - left) / (right - left)) * columns)
    const row = Math.floor(((y - top) / (bottom - top)) * rows)
    return column < 0 || row < 0 || column >= columns || row >= rows ? null : row * columns + column
  }

  function valueAt(index, spot) {
    const values = view.values[index]
    const at = cell(spot)
    if (!values || at === null) return null
    const { low, high } = view.data.panels[index]
    return low + (values[at] / 65535) * (high - low)
  }

  function sentence(spot) {
    const place = `x ${Math.floor(spot[0])}, y ${Math.floor(spot[1])}`
    if (cell(spot) === null) return `${place}: outside what the network saw`
    const named = view.data.panels.filter((panel) => panel.values).length > 1
    const parts = view.data.panels.flatMap((panel, i) => {
      const value = valueAt(i, spot)
      return value === null ? [] : [named ? `${panel.name} ${number(value)}` : number(value)]
    })
    return `${place}: ${parts.join(" · ")}`
  }

  function show(spot) {
    view.spot = spot
    const [left, top, right, bottom] = view.data.view
    root.querySelectorAll(".frame").forEach((frame) => {
      const [across, down] = [frame.querySelector(".across"), frame.querySelector(".down")]
      across.hidden = down.hidden = false
      across.style.top = `${(100 * (spot[1] - top)) / (bottom - top)}%`
      down.style.left = `${(100 * (spot[0] - left)) / (right - left)}%`
    })
    find(".readout").textContent = sentence(spot)
  }

  function clear() {
    view.spot = null
    find(".tip").hidden = true
    root.querySelectorAll(".across, .down").forEach((line) => (line.hidden = true))
    find(".readout").textContent = view.data.hint
  }

  function point(event, frame, index) {
    const box = frame.getBoundingClientRect()
    const [left, top, right, bottom] = view.data.view
    const spot = [
      left + ((event.clientX - box.left) / box.width) * (right - left),
      top + ((event.clientY - box.top) / box.height) * (bottom - top),
    ]
    show(spot)
    const tip = find(".tip")
    const value = valueAt(index, spot)
    tip.textContent = value === null ? `x ${Math.floor(spot[0])}, y ${Math.floor(spot[1])}` : number(value)
    tip.hidden = false
    const outer = host.getBoundingClientRect()
    const x = Math.min(event.clientX - outer.left + 14, outer.width - tip.offsetWidth)
    tip.style.left = `${Math.max(0, x)}px`
    tip.style.top = `${Math.max(0, event.clientY - outer.top - tip.offsetHeight - 10)}px`
  }

  function strongest() {
    const index = view.values.findIndex(Boolean)
    if (index < 0) return
    const values = view.values[index]
    const [left, top, right, bottom] = view.data.box
    const [columns, rows] = view.data.grid
    const at = values.reduce((best, value, i) => (value > values[best] ? i : best), 0)
    const [column, row] = [(at % columns) + 0.5, Math.floor(at / columns) + 0.5]
    show([left + (column / columns) * (right - left), top + (row / rows) * (bottom - top)])
  }

  host.onkeydown = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key]
    const [left, top, right, bottom] = view.data.view
    if (event.key === "Escape") clear()
    else if (event.key === "Home") strongest()
    else if (step) {
      const stride = (event.shiftKey ? 0.1 : 0.01) * (right - left)
      const from = view.spot ?? [(left + right) / 2, (top + bottom) / 2]
      const x = Math.max(left, Math.min(right - 1, from[0] + stride * step[0]))
      const y = Math.max(top, Math.min(bottom - 1, from[1] + stride * step[1]))
      show([x, y])
    } else return
    event.preventDefault()
  }

  async function prepare(data) {
    // Decode what is not on the screen yet, so that pictures and words change in one frame.
    const panels = data.panels ?? []
    const images = panels.map(async ({ src, values }, i) => {
      if (!values && imageOf(i)?.getAttribute("src") === src) return null // it stays
      const image = new Image()
      image.decoding = "sync"
      image.src = src
      await image.decode().catch(() => null)
      return image
    })
    const values = panels.map((panel) => (panel.values ? new Uint16Array(bytes(panel.values).buffer) : null))
    return { data: { ...data, panels }, images: await Promise.all(images), values }
  }

  const imageOf = (i) => find(".panels").children[i]?.querySelector("img")

  function showPanel(panel, image, i) {
    const old = imageOf(i)
    const now = image && old.getAttribute("src") !== panel.src ? image : old
    if (now !== old) old.replaceWith(now)
    if (now.getAttribute("src") !== panel.src) now.src = panel.src
    now.alt = panel.alt
    ;[now.width, now.height] = view.data.size
    now.closest("figure").querySelector("figcaption").textContent = panel.caption
  }

  function display({ data, images, values }) {
    const { problem = "", panels } = data
    find(".problem").textContent = problem
    host.hidden = panels.length === 0
    if (host.hidden) return
    Object.assign(view, { data, values })
    const holder = find(".panels")
    holder.style.setProperty("--widest", `${data.widest}px`)
    if (holder.children.length !== panels.length) holder.replaceChildren(...panels.map((_, i) => buildPanel(i)))
    panels.forEach((panel, i) => showPanel(panel, images[i], i))
    host.setAttribute("aria-label", data.label)
    find(".note").textContent = data.note
    drawLegend()
    if (view.spot) show(view.spot)
    else clear()
  }

  view.dials = makeDials(root, { prepare, show: display, tell: (moved) => view.tell(moved), keep: 24 })
  return view
}

export default function (component) {
  const { data, parentElement, setStateValue } = component
  let view = instances.get(parentElement)
  if (!view) {
    view = create(parentElement)
    instances.set(parentElement, view)
  }
  view.tell = (moved) => setStateValue("moved", moved)
  view.dials.update(data)
  return () => {
    view.dials.stop()
    instances.delete(parentElement)
  }
}
