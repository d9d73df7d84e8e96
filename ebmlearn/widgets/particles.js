// The picture of a ParticleView: a fixed map, particles over it, the path of the first one. No dependencies, no build.
const SIZE = 420, TRAIL = 60, DOT = 7, TELL = 4;  // report every so many frames: each report costs the page three kernel messages

const floats = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

function mapImage(model, pixels) {  // enlarged once, so that a frame only copies it
  const side = model.get("resolution"), bytes = model.get("background");
  const map = document.createElement("canvas");
  map.width = map.height = side;
  const rgba = new Uint8ClampedArray(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  map.getContext("2d").putImageData(new ImageData(rgba, side, side), 0, 0);
  const large = document.createElement("canvas");
  large.width = large.height = pixels;
  large.getContext("2d").drawImage(map, 0, 0, pixels, pixels);
  return large;
}

function dotImage(ratio) {  // drawn once and copied for each particle: several times faster than an arc each
  const dot = document.createElement("canvas");
  dot.width = dot.height = Math.round(DOT * ratio);
  const pen = dot.getContext("2d");
  pen.scale(ratio, ratio);
  pen.arc(DOT / 2, DOT / 2, 2.5, 0, 7);
  pen.fillStyle = "white";
  pen.fill();
  pen.strokeStyle = "rgba(0,0,0,0.8)";
  pen.stroke();
  return dot;
}

function axis(low, high, vertical) {
  const box = document.createElement("div");
  box.setAttribute("aria-hidden", "true");
  box.className = vertical ? "ebm-axis ebm-vertical" : "ebm-axis";
  for (const value of vertical ? [high, (low + high) / 2, low] : [low, (low + high) / 2, high]) {
    const tick = document.createElement("span");
    tick.textContent = Number(value.toPrecision(3));
    box.appendChild(tick);
  }
  return box;
}

function render({ model, el }) {
  el.classList.add("ebm-particles");
  const canvas = document.createElement("canvas"), ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.height = SIZE * ratio;
  canvas.setAttribute("role", "img");
  const [left, right, bottom, top] = model.get("extent");
  const says = document.createElement("p");
  el.append(axis(bottom, top, true), canvas, axis(left, right, false), says);

  const pen = canvas.getContext("2d"), dot = dotImage(ratio);
  let map = mapImage(model, canvas.width), trail = [], waiting = false, drawn = 0, last = 0, told = 0;
  const u = (x) => ((x - left) / (right - left)) * SIZE, v = (y) => ((top - y) / (top - bottom)) * SIZE;

  function draw() {
    waiting = false;
    const frame = model.get("frame"), at = floats(model.get("positions"));
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(map, 0, 0);
    if (frame < last) trail = [];
    last = frame;
    trail.push([at[0], at[1]]);
    if (trail.length > TRAIL) trail.shift();
    const middle = dot.width / 2;
    for (let i = 2; i < at.length; i += 2) {  // whole pixels: a copy, no filter
      pen.drawImage(dot, Math.round(u(at[i]) * ratio - middle), Math.round(v(at[i + 1]) * ratio - middle));
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const [color, width] of [["black", 3.5], ["#de8f05", 2]]) {
      pen.strokeStyle = color;
      pen.lineWidth = width;
      pen.beginPath();
      trail.forEach(([x, y], i) => (i ? pen.lineTo(u(x), v(y)) : pen.moveTo(u(x), v(y))));
      pen.stroke();
    }
    pen.fillStyle = "#de8f05";
    pen.strokeStyle = "black";
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.arc(u(at[0]), v(at[1]), 6, 0, 7);
    pen.fill();
    pen.stroke();
    drawn += 1;
    canvas.dataset.frames = drawn;
    if (Math.abs(frame - told) >= TELL) model.send({ drawn: (told = frame) });
  }
  function ask() {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(draw);
    }
  }
  function say() {
    const bad = model.get("error");
    says.textContent = bad || model.get("says");
    says.setAttribute("role", bad ? "alert" : "note");
    says.classList.toggle("ebm-error", Boolean(bad));
    canvas.setAttribute("aria-label", model.get("describes"));
  }
  function newMap() {
    map = mapImage(model, canvas.width);
    ask();
  }
  const wires = [["frame", ask], ["background", newMap], ["says", say], ["error", say], ["describes", say]];
  for (const [name, f] of wires) model.on(`change:${name}`, f);
  say();
  ask();
  return () => wires.forEach(([name, f]) => model.off(`change:${name}`, f));
}

export default { render };
