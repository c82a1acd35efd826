// Browse the channels of one layer: one sprite sheet of grey levels, coloured, enlarged and paged in the browser.
const LARGE = 448
const instances = new WeakMap()

const number = (value) =>
  value === 0 ? "0" : Math.abs(value) >= 1000 || Math.abs(value) < 0.001 ? value.toExponential(1) : String(+value.toPrecision(3))

const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))

const floats = (base64) => base64 && new Float32Array(bytes(base64).buffer)

function loadImage(url) {
  return new Promise((resolve, reject) => {
    const image = new Image()
    image.onload = () => resolve(image)
    image.onerror = () => reject(new Error("The sprite sheet did not load."))
    image.src = url
  })
}

function create(root) {
  const find = (selector) => root.querySelector(selector)
  const scratch = document.createElement("canvas")
  const coloured = document.createElement("canvas")
  const view = { position: 0, page: 0, frame: 0, tag: null, sprite: null, backdrop: null, dragging: false }
  const range = find("input")

  const channelAt = (position) => (view.data.order ? view.data.order[position] : position)
  const positionOf = (channel) => (view.data.order ? view.data.order.indexOf(channel) : channel)
  const corner = (channel) => [
    (channel % view.data.columns) * view.data.tile[0],
    Math.floor(channel / view.data.columns) * view.data.tile[1],
  ]

  function colour() {
    // Grey levels -> colours, once per sheet and colour map; every later frame only copies pixels.
    const { width, height } = view.sprite
    scratch.width = coloured.width = width
    scratch.height = coloured.height = height
    find(".bar").hidden = find(".ends").hidden = !view.data.table
    if (!view.data.table) return coloured.getContext("2d").drawImage(view.sprite, 0, 0)
    const context = scratch.getContext("2d", { willReadFrequently: true })
    context.drawImage(view.sprite, 0, 0)
    const pixels = context.getImageData(0, 0, width, height)
    const table = bytes(view.data.table)
    const words = new Uint32Array(256).map(
      (_, i) => (255 << 24) | (table[3 * i + 2] << 16) | (table[3 * i + 1] << 8) | table[3 * i],
    )
    const out = new Uint32Array(pixels.data.buffer)
    view.levels = new Uint8Array(out.length)
    for (let i = 0; i < out.length; i++) {
      const level = out[i] & 255
      view.levels[i] = level
      out[i] = words[level]
    }
    coloured.getContext("2d").putImageData(pixels, 0, 0)
    const bar = find(".bar").getContext("2d")
    const strip = bar.createImageData(256, 1)
    new Uint32Array(strip.data.buffer).set(words)
    bar.putImageData(strip, 0, 0)
  }

  function veil(channel) {
    // The channel as a see-through layer: opacity follows the distance from zero, so zero leaves the picture alone.
    const [width, height] = view.data.tile
    const [left, top] = corner(channel)
    scratch.width = width
    scratch.height = height
    const context = scratch.getContext("2d", { willReadFrequently: true })
    context.drawImage(coloured, left, top, width, height, 0, 0, width, height)
    const pixels = context.getImageData(0, 0, width, height)
    const reach = Math.max(view.data.zero, 255 - view.data.zero)
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const level = view.levels[(top + y) * coloured.width + left + x]
        pixels.data[4 * (y * width + x) + 3] = (255 * view.data.blend * Math.abs(level - view.data.zero)) / reach
      }
    }
    context.putImageData(pixels, 0, 0)
    return scratch
  }

  function drawLarge(channel) {
    const canvas = find(".large")
    const [width, height] = view.data.tile
    canvas.width = LARGE
    canvas.height = Math.max(1, Math.round((LARGE * height) / width))
    const context = canvas.getContext("2d")
    context.imageSmoothingEnabled = view.data.smooth
    context.imageSmoothingQuality = "high"
    if (view.backdrop) {
      context.drawImage(view.backdrop, 0, 0, canvas.width, canvas.height)
      context.drawImage(veil(channel), 0, 0, canvas.width, canvas.height)
    } else {
      const [left, top] = corner(channel)
      context.drawImage(coloured, left, top, width, height, 0, 0, canvas.width, canvas.height)
    }
  }

  function sheetGeometry() {
    const canvas = find(".sheet")
    const first = view.page * view.data.page
    const count = Math.min(view.data.page, view.data.count - first)
    const columns = Math.min(canvas.clientWidth > 400 ? 12 : 8, Math.max(4, view.data.count))
    return { canvas, first, count, columns, rows: Math.ceil(count / columns) }
  }

  function drawSheet() {
    const { canvas, first, count, columns, rows } = sheetGeometry()
    const [width, height] = view.data.tile
    const ratio = Math.min(2, window.devicePixelRatio || 1)
    const cell = Math.max(8, Math.floor(((canvas.clientWidth || 480) * ratio) / columns))
    const tall = Math.round((cell * height) / width)
    canvas.width = cell * columns
    canvas.height = tall * rows
    const context = canvas.getContext("2d")
    context.imageSmoothingEnabled = width > cell
    for (let i = 0; i < count; i++) {
      const [left, top] = corner(channelAt(first + i))
      const x = (i % columns) * cell
      const y = Math.floor(i / columns) * tall
      context.drawImage(coloured, left, top, width, height, x + 1, y + 1, cell - 2, tall - 2)
    }
    const chosen = view.position - first
    if (chosen >= 0 && chosen < count) {
      context.lineWidth = 3 * ratio
      context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--st-primary-color") || "#0e7490"
      context.strokeRect((chosen % columns) * cell + 1.5, Math.floor(chosen / columns) * tall + 1.5, cell - 3, tall - 3)
    }
    const pages = Math.ceil(view.data.count / view.data.page)
    find(".pages").textContent = `${first + 1} to ${first + count} of ${view.data.count}`
    find(".pager").hidden = pages < 2
    find(".previous").disabled = view.page === 0
    find(".next").disabled = view.page >= pages - 1
    canvas.setAttribute("aria-label", `${view.data.noun} sheet: ${first + 1} to ${first + count} of ${view.data.count}`)
  }

  function describe(channel) {
    const { data } = view
    const low = number(data.low[channel])
    const high = number(data.high[channel])
    const rank = data.order ? ` · ${view.position + 1} of ${data.count} by ${data.order_name}` : ` of ${data.count}`
    const score = data.scores ? ` (${number(data.scores[channel])})` : ""
    find(".where").textContent = `${channel}${rank}${score}`
    find(".range").textContent = low === high ? `every value is ${low}` : `values ${low} to ${high}`
    const scale = data.scale ?? [data.low[channel], data.high[channel]]
    find(".low").textContent = number(scale[0])
    find(".high").textContent = number(scale[1])
    range.setAttribute("aria-valuetext", `${data.noun} ${channel}${rank}`)
    find(".large").setAttribute("aria-label", `${data.noun} ${channel}, values ${low} to ${high}`)
  }

  function draw() {
    view.frame = 0
    if (!view.sprite) return
    const channel = channelAt(view.position)
    describe(channel)
    drawLarge(channel)
    drawSheet()
  }

  view.ask = () => {
    if (!view.frame) view.frame = requestAnimationFrame(draw)
  }

  view.move = (position) => {
    view.position = Math.max(0, Math.min(view.data.count - 1, position))
    view.page = Math.floor(view.position / view.data.page)
    range.value = view.position
    view.ask()
  }

  view.update = async (sent) => {
    const data = { ...sent, low: floats(sent.low), high: floats(sent.high), scores: floats(sent.scores) }
    data.order = sent.order && Array.from(new Int32Array(bytes(sent.order).buffer))
    view.wanted = data
    const known = view.data
    const fresh = !known || known.sprite !== data.sprite
    const sprite = fresh ? await loadImage(data.sprite) : view.sprite
    const backdrop = data.backdrop ? (known?.backdrop === data.backdrop ? view.backdrop : await loadImage(data.backdrop)) : null
    if (view.wanted !== data) return // a newer call came in while the pictures loaded
    view.data = data
    range.max = data.count - 1
    find("label").textContent = data.label
    find(".scrubber").setAttribute("aria-label", data.label)
    view.sprite = sprite
    view.backdrop = backdrop
    if (fresh || known.table !== data.table) colour()
    if (!view.dragging) view.move(Math.max(0, positionOf(data.index)))
    view.ask()
  }

  range.oninput = () => view.move(Number(range.value))
  range.onpointerdown = () => (view.dragging = true)
  range.onpointerup = range.onpointercancel = () => (view.dragging = false)
  find(".sheet").onclick = (event) => {
    const { canvas, first, count, columns, rows } = sheetGeometry()
    const box = canvas.getBoundingClientRect()
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns)
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows)
    const chosen = row * columns + column
    if (chosen < 0 || chosen >= count) return
    view.move(first + chosen)
    view.send()
  }
  const turn = (step) => () => {
    view.page += step
    view.ask()
  }
  find(".previous").onclick = turn(-1)
  find(".next").onclick = turn(1)
  view.observer = new ResizeObserver(() => view.ask())
  view.observer.observe(find(".panes"))
  return view
}

export default function (component) {
  const { data, parentElement, setStateValue } = component
  let view = instances.get(parentElement)
  if (!view) {
    view = create(parentElement)
    instances.set(parentElement, view)
  }
  view.send = () => {
    clearTimeout(view.timer)
    const position = view.position
    view.timer = setTimeout(() => setStateValue("index", view.data.order ? view.data.order[position] : position), 60)
  }
  parentElement.querySelector("input").onchange = view.send
  view.update(data).catch((error) => {
    parentElement.querySelector(".where").textContent = error.message
  })
  return () => {
    clearTimeout(view.timer)
    cancelAnimationFrame(view.frame)
    view.observer.disconnect()
    instances.delete(parentElement)
  }
}
