// The picture of a ParticleView: a fixed map, particles over it, the path of the first one. No dependencies, no build.
const SIZE = 420, TRAIL = 60;

const floats = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

function mapImage(model) {
  const side = model.get("resolution"), bytes = model.get("background");
  const map = document.createElement("canvas");
  map.width = map.height = side;
  const rgba = new Uint8ClampedArray(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  map.getContext("2d").putImageData(new ImageData(rgba, side, side), 0, 0);
  return map;
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

  const pen = canvas.getContext("2d");
  let map = mapImage(model), trail = [], waiting = false, drawn = 0, last = 0;
  const u = (x) => ((x - left) / (right - left)) * SIZE, v = (y) => ((top - y) / (top - bottom)) * SIZE;

  function draw() {
    waiting = false;
    const frame = model.get("frame"), at = floats(model.get("positions"));
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.imageSmoothingEnabled = true;
    pen.drawImage(map, 0, 0, SIZE, SIZE);
    if (frame < last) trail = [];
    last = frame;
    trail.push([at[0], at[1]]);
    if (trail.length > TRAIL) trail.shift();
    pen.fillStyle = "white";
    pen.strokeStyle = "rgba(0,0,0,0.75)";
    pen.lineWidth = 0.8;
    pen.beginPath();
    for (let i = 2; i < at.length; i += 2) {
      const a = u(at[i]), b = v(at[i + 1]);
      pen.moveTo(a + 2.4, b);
      pen.arc(a, b, 2.4, 0, 7);
    }
    pen.fill();
    pen.stroke();
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
    model.send({ drawn: frame });
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
    map = mapImage(model);
    ask();
  }
  const wires = [["frame", ask], ["background", newMap], ["says", say], ["error", say], ["describes", say]];
  for (const [name, f] of wires) model.on(`change:${name}`, f);
  say();
  ask();
  return () => wires.forEach(([name, f]) => model.off(`change:${name}`, f));
}

export default { render };
