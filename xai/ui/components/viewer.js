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

  view.update = (data) => {
    view.data = data
    view.values = data.panels.map((panel) => (panel.values ? new Uint16Array(bytes(panel.values).buffer) : null))
    const holder = find(".panels")
    holder.style.setProperty("--widest", `${data.widest}px`)
    if (holder.children.length !== data.panels.length) {
      holder.replaceChildren(...data.panels.map((_, i) => buildPanel(i)))
    }
    data.panels.forEach((panel, i) => {
      const image = holder.children[i].querySelector("img")
      if (image.getAttribute("src") !== panel.src) image.src = panel.src
      image.alt = panel.alt
      image.width = data.size[0]
      image.height = data.size[1]
      holder.children[i].querySelector("figcaption").textContent = panel.caption
    })
    host.setAttribute("aria-label", data.label)
    find(".note").textContent = data.note
    writeAddress(data.address)
    drawLegend()
    if (view.spot) show(view.spot)
    else clear()
  }
  return view
}

export default function (component) {
  const { data, parentElement } = component
  let view = instances.get(parentElement)
  if (!view) {
    view = create(parentElement)
    instances.set(parentElement, view)
  }
  view.update(data)
  return () => instances.delete(parentElement)
}
