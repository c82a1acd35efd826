// Browse the channels of one layer: their levels come once, colouring, enlarging and paging happen here.
const LARGE = 448
const instances = new WeakMap()

const floats = (base64) => base64 && new Float32Array(bytes(base64).buffer)

async function inflate(base64) {
  const stream = new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream("deflate"))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

async function loadImage(url) {
  const image = new Image()
  image.src = url
  await image.decode()
  return image
}

function create(root) {
  const find = (selector) => root.querySelector(selector)
  const canvas = () => document.createElement("canvas")
  const view = { position: 0, page: 0, frame: 0, levels: null, backdrop: null, dragging: false }
  const [tile, page, sheet] = [canvas(), canvas(), canvas()] // one channel; a page of them; the page as shown
  const range = find(".position")

  const channelAt = (position) => (view.data.order ? view.data.order[position] : position)
  const positionOf = (channel) => (view.data.order ? view.data.order.indexOf(channel) : channel)

  function chooseColours() {
    // Colours as 32-bit words: opaque, and as a veil whose opacity follows the distance from zero.
    const { table, zero, blend } = view.data
    find(".bar").hidden = find(".ends").hidden = !table
    if (!table) return
    const colours = bytes(table)
    const reach = Math.max(zero, 255 - zero)
    view.opaque = new Uint32Array(256)
    view.veil = new Uint32Array(256)
    for (let i = 0; i < 256; i++) {
      const colour = (colours[3 * i + 2] << 16) | (colours[3 * i + 1] << 8) | colours[3 * i]
      view.opaque[i] = colour | (255 << 24)
      view.veil[i] = colour | (Math.round((255 * blend * Math.abs(i - zero)) / reach) << 24)
    }
    const bar = find(".bar").getContext("2d")
    const strip = bar.createImageData(256, 1)
    new Uint32Array(strip.data.buffer).set(view.opaque)
    bar.putImageData(strip, 0, 0)
  }

  function paint(channel, words) {
    // The pixels of one channel at its own size.
    const [width, height] = view.data.tile
    const size = width * height
    const pixels = new ImageData(width, height)
    const out = new Uint32Array(pixels.data.buffer)
    if (view.data.table) {
      for (let i = 0, at = channel * size; i < size; i++) out[i] = words[view.levels[at + i]]
    } else {
      for (let i = 0, at = 3 * channel * size; i < size; i++, at += 3) {
        out[i] = (255 << 24) | (view.levels[at + 2] << 16) | (view.levels[at + 1] << 8) | view.levels[at]
      }
    }
    return pixels
  }

  function drawLarge(channel) {
    const large = find(".large")
    const [width, height] = view.data.tile
    large.width = LARGE
    large.height = Math.max(1, Math.round((LARGE * height) / width))
    const context = large.getContext("2d")
    context.imageSmoothingEnabled = view.data.smooth
    context.imageSmoothingQuality = "high"
    if (view.backdrop) context.drawImage(view.backdrop, 0, 0, large.width, large.height)
    tile.width = width
    tile.height = height
    tile.getContext("2d").putImageData(paint(channel, view.backdrop ? view.veil : view.opaque), 0, 0)
    context.drawImage(tile, 0, 0, large.width, large.height)
  }

  function geometry() {
    const shown = find(".sheet")
    const first = view.page * view.data.page
    const count = Math.min(view.data.page, view.data.count - first)
    const columns = Math.min(shown.clientWidth > 400 ? 12 : 8, Math.max(4, view.data.count))
    const ratio = Math.min(2, window.devicePixelRatio || 1)
    const cell = Math.max(8, Math.floor(((shown.clientWidth || 480) * ratio) / columns))
    const tall = Math.max(3, Math.round((cell * view.data.tile[1]) / view.data.tile[0]))
    return { shown, first, count, columns, rows: Math.ceil(count / columns), cell, tall, ratio }
  }

  function drawPage({ first, count, columns, rows, cell, tall }) {
    const [width, height] = view.data.tile
    page.width = columns * width
    page.height = rows * height
    const context = page.getContext("2d")
    for (let i = 0; i < count; i++) {
      const [x, y] = [i % columns, Math.floor(i / columns)]
      context.putImageData(paint(channelAt(first + i), view.opaque), x * width, y * height)
    }
    sheet.width = columns * cell
    sheet.height = rows * tall
    const target = sheet.getContext("2d")
    target.imageSmoothingEnabled = width > cell
    for (let i = 0; i < count; i++) {
      const [x, y] = [i % columns, Math.floor(i / columns)]
      target.drawImage(page, x * width, y * height, width, height, x * cell + 1, y * tall + 1, cell - 2, tall - 2)
    }
  }

  function drawSheet() {
    const place = geometry()
    const { shown, first, count, columns, cell, tall, ratio } = place
    const key = [view.page, columns, cell, tall].join()
    if (view.drawn !== key) {
      drawPage(place)
      view.drawn = key
    }
    shown.width = sheet.width
    shown.height = sheet.height
    const context = shown.getContext("2d")
    context.drawImage(sheet, 0, 0)
    const chosen = view.position - first
    if (chosen >= 0 && chosen < count) {
      context.lineWidth = 3 * ratio
      context.strokeStyle = getComputedStyle(shown).getPropertyValue("--st-primary-color") || "#0e7490"
      context.strokeRect((chosen % columns) * cell + 1.5, Math.floor(chosen / columns) * tall + 1.5, cell - 3, tall - 3)
    }
    const pages = Math.ceil(view.data.count / view.data.page)
    const which = `${first + 1} to ${first + count} of ${view.data.count}`
    find(".pages").textContent = which
    find(".pager").hidden = pages < 2
    find(".previous").disabled = view.page === 0
    find(".next").disabled = view.page >= pages - 1
    shown.setAttribute("aria-label", `${view.data.noun} sheet: ${which}`)
  }

  function describe(channel) {
    const { data } = view
    const [low, high] = [number(data.low[channel]), number(data.high[channel])]
    const rank = data.order ? ` · ${view.position + 1} of ${data.count} by ${data.order_name}` : ` of ${data.count}`
    const score = data.scores ? ` (${number(data.scores[channel])})` : ""
    find(".where").textContent = `${channel}${rank}${score}`
    if (root.activeElement !== find(".direct")) find(".direct").value = channel
    find(".range").textContent = low === high ? `every value is ${low}` : `values ${low} to ${high}`
    const scale = data.scale ?? [data.low[channel], data.high[channel]]
    find(".low").textContent = number(scale[0])
    find(".high").textContent = number(scale[1])
    range.setAttribute("aria-valuetext", `${data.noun} ${channel}${rank}`)
    find(".large").setAttribute("aria-label", `${data.noun} ${channel}, values ${low} to ${high}`)
  }

  function draw() {
    cancelAnimationFrame(view.frame)
    view.frame = 0
    if (!view.levels) return
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
  }

  async function prepare(sent) {
    const known = view.data ?? {}
    const levels = !sent.tiles ? null : known.tiles === sent.tiles ? view.levels : await inflate(sent.tiles)
    const same = known.backdrop === sent.backdrop
    const backdrop = same ? view.backdrop : sent.backdrop && (await loadImage(sent.backdrop))
    const order = sent.order && new Int32Array(bytes(sent.order).buffer)
    const numbers = { low: floats(sent.low), high: floats(sent.high), scores: floats(sent.scores) }
    return { data: { ...sent, ...numbers, order }, levels, backdrop }
  }

  function show({ data, levels, backdrop }, behind) {
    const { problem = "" } = data
    find(".problem").textContent = problem
    find(".scrubber").hidden = !levels
    if (!levels) return
    Object.assign(view, { data, levels, backdrop, drawn: null })
    range.max = find(".direct").max = data.count - 1
    find(".label").textContent = data.label
    find(".note").textContent = data.note
    find(".scrubber").setAttribute("aria-label", data.label)
    chooseColours()
    if (!view.dragging && !behind) view.move(Math.max(0, positionOf(data.index)))
    draw()
  }

  range.oninput = () => {
    view.move(Number(range.value))
    view.ask()
  }
  range.onpointerdown = () => (view.dragging = true)
  range.onpointerup = range.onpointercancel = () => (view.dragging = false)
  find(".direct").onchange = () => {
    const channel = Math.max(0, Math.min(view.data.count - 1, Math.round(Number(find(".direct").value)) || 0))
    view.move(positionOf(channel))
    view.ask()
    view.send()
  }
  find(".sheet").onclick = (event) => {
    const { shown, first, count, columns, rows } = geometry()
    const box = shown.getBoundingClientRect()
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns)
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows)
    const chosen = row * columns + column
    if (chosen < 0 || chosen >= count) return
    view.move(first + chosen)
    view.ask()
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

  view.send = () => {
    // One message when somebody lets go: the channel, and with it where the dials stand.
    clearTimeout(view.timer)
    view.dials.say()
    const index = channelAt(view.position)
    const serial = view.dials.stamp()
    writeAddress({ [view.data.parameter]: index })
    view.said = { serial, values: view.dials.values(), index, shown: true }
    view.timer = setTimeout(say, 60)
  }
  const say = () => {
    if (!view.timer) return
    clearTimeout(view.timer)
    view.timer = 0
    view.tell(view.said)
  }
  range.onchange = () => view.send()
  range.onblur = say // before whatever is clicked next, which may be another page
  view.dials = makeDials(root, { prepare, show, tell: (moved) => view.tell(moved), keep: 8 })
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
  view.dials.update(data).catch((error) => {
    parentElement.querySelector(".where").textContent = error.message
  })
  return () => {
    clearTimeout(view.timer)
    cancelAnimationFrame(view.frame)
    view.observer.disconnect()
    view.dials.stop()
    instances.delete(parentElement)
  }
}
