// What both components need; put before each of them.
function number(value) {
  if (value === 0) return "0"
  const size = Math.abs(value)
  return size >= 1000 || size < 0.001 ? value.toExponential(1) : String(+value.toPrecision(3))
}

function bytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64)
  const text = atob(base64)
  const out = new Uint8Array(text.length)
  for (let i = 0; i < out.length; i++) out[i] = text.charCodeAt(i)
  return out
}

function writeAddress(parameters) {
  // Keep the page's address the link to what is shown, without a step in the browser's history for each move.
  const url = new URL(window.location.href)
  for (const [name, value] of Object.entries(parameters ?? {})) {
    if (value === null) url.searchParams.delete(name)
    else url.searchParams.set(name, value)
  }
  if (url.href !== window.location.href) window.history.replaceState(window.history.state, "", url)
}

