/* The page: lists the server's models, sends one a picture or a drawing, and shows what it says.
 * Plain JavaScript that a browser runs as it is; it loads nothing from elsewhere. */
"use strict";

const $ = id => document.getElementById(id);
const models = new Map(); // "name/version": what the server tells of it
let asked = null;         // the picture in question: { blob, preview }
let turn = 0;             // of requests, so that a late answer is not taken for the last
let preview = null;       // the address of the picture that is shown

/* --- the server ------------------------------------------------------------------------------- */

async function call(path, options = {}) {
    const key = sessionStorage.getItem("key");
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    let response;
    try {
        response = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch {
        throw new Error("The server does not answer.");
    }
    const answer = await response.json().catch(() => ({}));
    if (response.status === 401) {
        $("key-form").hidden = false;
        $("key").focus();
    }
    if (!response.ok)
        throw new Error(answer.error || `The server answered ${response.status}.`);
    return answer;
}

async function loadModels() {
    try {
        const index = await call("v2/repository/index", { method: "POST" });
        const details = await Promise.all(index.map(describe));
        models.clear();
        index.forEach((entry, i) =>
            models.set(`${entry.name}/${entry.version}`, { ...entry, ...details[i] }));
        $("key-form").hidden = true;
        showModels();
        $("version").textContent = `Cresset ${(await call("v2")).version}`;
    } catch (error) {
        setState(error.message, "bad");
    }
}

async function describe(entry) {
    if (entry.state !== "READY")
        return {};
    try {
        return await call(`v2/models/${entry.name}/versions/${entry.version}`);
    } catch {
        return {};
    }
}

/* --- the list of models ----------------------------------------------------------------------- */

function setState(words, kind) {
    $("state").textContent = words;
    $("state").className = `state ${kind}`;
}

const isReady = model => model.state === "READY";
const pictureShape = model => {
    const shape = model.inputs?.[0]?.shape;
    return model.parameters?.task === "classification" && shape?.length === 4 ? shape : null;
};
const sizes = tensor => `${tensor.datatype} ${tensor.shape.map(d => d < 0 ? "N" : d).join(" × ")}`;

function showModels() {
    const ready = [...models.values()].filter(isReady);
    setState(ready.length === models.size
        ? `${ready.length} model${ready.length === 1 ? "" : "s"} ready`
        : `${ready.length} of ${models.size} models ready`, ready.length ? "good" : "bad");
    $("models").replaceChildren(...[...models.values()].map(modelCard));
    const chosen = $("model").value;
    const options = [...models].filter(([, model]) => isReady(model) && pictureShape(model));
    $("model").replaceChildren(...options.map(([id, model]) =>
        new Option(hasVersions(model) ? `${model.name}, version ${model.version}` : model.name, id)));
    if (options.some(([id]) => id === chosen))
        $("model").value = chosen;
    wipe();
}

const hasVersions = model =>
    [...models.values()].filter(other => other.name === model.name).length > 1;

function curlLine(model) {
    const key = sessionStorage.getItem("key") ? ' -H "Authorization: Bearer $KEY"' : "";
    const version = hasVersions(model), here = new URL(".", location.href).href;
    if (pictureShape(model))
        return `curl${key} -T picture.jpg ${here}predictions/${model.name}` +
            (version ? `/${model.version}` : "");
    return `curl${key} -d @request.json ${here}v2/models/${model.name}` +
        (version ? `/versions/${model.version}` : "") + "/infer";
}

function modelCard(model) {
    const card = $("model-card").content.firstElementChild.cloneNode(true);
    const part = name => card.querySelector(name);
    part(".model-name").textContent =
        hasVersions(model) ? `${model.name}, version ${model.version}` : model.name;
    part(".pill").textContent = isReady(model) ? "ready" : "not loaded";
    part(".pill").classList.toggle("off", !isReady(model));
    part(".reason").hidden = !model.reason || model.reason === "unloaded";
    part(".reason").textContent = model.reason;
    const rows = [];
    if (model.parameters)
        rows.push(["Model", `${model.parameters.architecture}, ${model.parameters.classes} classes`]);
    for (const tensor of model.inputs || [])
        rows.push(["Input", `${tensor.name}: ${sizes(tensor)}`]);
    for (const tensor of model.outputs || [])
        rows.push(["Output", `${tensor.name}: ${sizes(tensor)}`]);
    for (const [term, words] of rows)
        part(".tensors").append(element("dt", term), element("dd", words));
    const line = curlLine(model);
    part("code").textContent = line;
    part("code").setAttribute("aria-label", `A line for the shell that asks ${model.name}`);
    part(".copy").setAttribute("aria-label", `Copy the curl line of ${model.name}`);
    part(".copy").addEventListener("click", event => copy(line, event.target));
    return card;
}

function element(name, words) {
    const made = document.createElement(name);
    made.textContent = words;
    return made;
}

async function copy(words, button) {
    try {
        await navigator.clipboard.writeText(words);
        button.textContent = "Copied";
    } catch { // without HTTPS some browsers have no clipboard
        getSelection().selectAllChildren(button.previousElementSibling);
        button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

/* --- asking ----------------------------------------------------------------------------------- */

async function ask(blob, shown, wanted = null) {
    const model = models.get($("model").value);
    const own = ++turn;
    if (!model)
        return showProblem("There is no model here that takes pictures.");
    asked = { blob, preview: shown };
    $("result").classList.add("busy");
    $("result").setAttribute("aria-busy", "true");
    const began = performance.now();
    try {
        const path = `explanations/${model.name}/${model.version}?top=5` +
            (wanted === null ? "" : `&class=${wanted}`);
        const answer = await call(path, { method: "POST", body: blob,
            headers: { "Content-Type": "application/octet-stream" } });
        if (own === turn)
            showAnswer(answer, model, performance.now() - began, wanted);
    } catch (error) {
        if (own === turn)
            showProblem(error.message);
    }
    if (own === turn) {
        $("result").classList.remove("busy");
        $("result").removeAttribute("aria-busy");
    }
}

function showProblem(words) {
    $("problem").textContent = words;
    $("problem").hidden = false;
    $("answer").hidden = true;
    $("empty").hidden = true;
}

const percent = share => `${(100 * share).toFixed(1)} %`;
const milliseconds = time => time < 10 ? `${time.toFixed(1)} ms` : `${Math.round(time)} ms`;

function showAnswer(answer, model, time, wanted) {
    const best = answer.predictions[0], small = Math.max(...pictureShape(model).slice(2)) < 100;
    $("problem").hidden = true;
    $("empty").hidden = true;
    $("answer").hidden = false;
    $("best-label").textContent = best.label;
    $("best-share").textContent = percent(best.probability);
    $("own-picture").src = asked.preview;
    $("own").hidden = !asked.preview;
    $("own-picture").classList.toggle("coarse", small);
    $("seen").hidden = !answer.explanation;
    $("unexplained").hidden = Boolean(answer.explanation);
    $("bars-help").hidden = !answer.explanation;
    if (answer.explanation) {
        const words = `Where it looked for “${answer.explanation.label}”`;
        $("seen-picture").src = answer.explanation.picture;
        $("seen-picture").alt = `${words}: the places that speak for it are painted in warm colours`;
        $("seen-picture").classList.toggle("coarse", small);
        $("seen-caption").textContent = words;
    } else {
        $("unexplained").textContent = answer.unexplained;
    }
    showBars(answer);
    showFacts(answer.parameters, time);
    if (wanted === null)
        $("say").textContent = answer.predictions.slice(0, 3)
            .map(one => `${one.label}, ${percent(one.probability)}`).join("; ");
    else
        $("say").textContent = $("seen-caption").textContent;
}

function showBars(answer) {
    const focused = document.activeElement?.dataset?.class;
    $("bars").replaceChildren(...answer.predictions.map(one => {
        const item = document.createElement("li"), button = document.createElement("button");
        const track = element("span", ""), fill = element("span", "");
        track.className = "track";
        fill.className = "fill";
        fill.style.width = percent(one.probability).replace(" ", "");
        track.append(fill);
        const label = element("span", one.label), share = element("span", percent(one.probability));
        label.className = "label";
        label.title = one.label;
        share.className = "percent";
        button.type = "button";
        button.dataset.class = one.class;
        button.setAttribute("aria-pressed", answer.explanation?.class === one.class);
        button.append(label, track, share);
        button.addEventListener("click", () => ask(asked.blob, asked.preview, one.class));
        item.append(button);
        return item;
    }));
    if (focused !== undefined)
        $("bars").querySelector(`[data-class="${focused}"]`)?.focus();
}

function showFacts(journey, time) {
    const others = journey.batch_size - 1;
    $("fact-time").textContent = milliseconds(time);
    $("fact-queue").textContent = milliseconds(journey.queue_us / 1000);
    $("fact-compute").textContent = milliseconds(journey.compute_us / 1000);
    $("fact-batch").textContent = others ? `with ${others} other${others > 1 ? "s" : ""}` : "alone";
}

/* --- pictures --------------------------------------------------------------------------------- */

function takeFile(file) {
    if (!file)
        return;
    if (preview)
        URL.revokeObjectURL(preview);
    preview = /tiff|pnm|portable/.test(file.type) ? null : URL.createObjectURL(file);
    ask(file, preview);
}

function watchPictures() {
    const drop = $("drop");
    $("file").addEventListener("change", event => {
        takeFile(event.target.files[0]);
        event.target.value = ""; // the same file may be chosen again
    });
    for (const name of ["dragenter", "dragover"])
        drop.addEventListener(name, event => {
            event.preventDefault();
            drop.classList.add("over");
        });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", event => {
        event.preventDefault();
        drop.classList.remove("over");
        takeFile(event.dataTransfer.files[0]);
    });
    for (const name of ["dragover", "drop"]) // a miss must not leave the page
        window.addEventListener(name, event => event.preventDefault());
    document.addEventListener("paste", event => {
        const file = [...event.clipboardData.files].find(one => one.type.startsWith("image/"));
        takeFile(file);
    });
}

/* --- drawings --------------------------------------------------------------------------------- */

const SIDE = 280, STEP = 7, PEN = 20;
const ink = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const pen = { x: SIDE / 2, y: SIDE / 2, down: false, keys: false };
let drawn = false, soon = 0;

const isGrey = () => pictureShape(models.get($("model").value) || {})?.[1] === 1;

function wipe() {
    ink.canvas.width = ink.canvas.height = SIDE;
    ink.fillStyle = isGrey() ? "#000" : "#fff";
    ink.fillRect(0, 0, SIDE, SIDE);
    Object.assign(ink, { strokeStyle: isGrey() ? "#fff" : "#000", lineWidth: PEN, lineCap: "round",
        lineJoin: "round" });
    drawn = false;
    paint();
}

/* The drawing as it is, with the pen on it while keys move that. */
function paint() {
    const screen = $("canvas").getContext("2d");
    screen.drawImage(ink.canvas, 0, 0);
    if (!pen.keys)
        return;
    screen.beginPath();
    screen.arc(pen.x, pen.y, PEN / 2, 0, 7);
    screen.lineWidth = 2;
    screen.strokeStyle = "#e8702a";
    screen.stroke();
    if (pen.down) {
        screen.fillStyle = "#e8702a";
        screen.fill();
    }
}

function moveTo(x, y, draws) {
    if (draws) {
        ink.beginPath();
        ink.moveTo(pen.x, pen.y);
        ink.lineTo(x, y);
        ink.stroke();
        drawn = true;
        clearTimeout(soon);
        soon = setTimeout(askDrawing, 350);
    }
    pen.x = x;
    pen.y = y;
    paint();
}

/* As the digits of MNIST were made: what is drawn fits a box of 20 of 28 pixels, and its centre of
 * mass is that of the picture. */
function centred() {
    const pixels = ink.getImageData(0, 0, SIDE, SIDE).data;
    let left = SIDE, right = 0, top = SIDE, bottom = 0, mass = 0, mx = 0, my = 0;
    for (let y = 0; y < SIDE; y++)
        for (let x = 0; x < SIDE; x++) {
            const value = pixels[4 * (y * SIDE + x)];
            if (!value)
                continue;
            left = Math.min(left, x); right = Math.max(right, x);
            top = Math.min(top, y); bottom = Math.max(bottom, y);
            mass += value; mx += value * x; my += value * y;
        }
    const scale = 200 / Math.max(right - left + 1, bottom - top + 1, 1);
    const made = document.createElement("canvas"), to = made.getContext("2d");
    made.width = made.height = SIDE;
    to.fillRect(0, 0, SIDE, SIDE);
    to.setTransform(scale, 0, 0, scale, SIDE / 2 - scale * mx / mass, SIDE / 2 - scale * my / mass);
    to.drawImage(ink.canvas, 0, 0);
    return made;
}

function askDrawing() {
    if (!drawn)
        return;
    const sent = isGrey() ? centred() : ink.canvas;
    sent.toBlob(blob => ask(blob, sent.toDataURL()), "image/png");
}

function watchDrawing() {
    const canvas = $("canvas");
    const place = event => {
        const box = canvas.getBoundingClientRect();
        return [(event.clientX - box.left) * SIDE / box.width,
            (event.clientY - box.top) * SIDE / box.height];
    };
    canvas.addEventListener("pointerdown", event => {
        canvas.setPointerCapture(event.pointerId);
        pen.keys = false;
        moveTo(...place(event), false);
        moveTo(pen.x + 0.1, pen.y, true);
    });
    canvas.addEventListener("pointermove", event => {
        if (event.buttons)
            moveTo(...place(event), true);
    });
    canvas.addEventListener("keydown", event => {
        const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP],
            ArrowDown: [0, STEP], " ": [0, 0] };
        const move = moves[event.key];
        if (!move)
            return;
        event.preventDefault();
        pen.keys = true;
        if (event.key === " ")
            pen.down = !pen.down;
        const inside = value => Math.min(SIDE - STEP, Math.max(STEP, value));
        moveTo(inside(pen.x + move[0]), inside(pen.y + move[1]), pen.down);
    });
    $("clear").addEventListener("click", () => {
        pen.down = false;
        wipe();
        canvas.focus();
    });
}

/* --- tabs, model, key ------------------------------------------------------------------------- */

function watchTabs() {
    const tabs = [$("tab-picture"), $("tab-draw")];
    const choose = chosen => tabs.forEach(tab => {
        const on = tab === chosen;
        tab.setAttribute("aria-selected", on);
        tab.tabIndex = on ? 0 : -1;
        $(tab.getAttribute("aria-controls")).hidden = !on;
    });
    tabs.forEach((tab, i) => {
        tab.addEventListener("click", () => choose(tab));
        tab.addEventListener("keydown", event => {
            if (event.key !== "ArrowLeft" && event.key !== "ArrowRight")
                return;
            const other = tabs[1 - i];
            choose(other);
            other.focus();
        });
    });
}

function start() {
    watchTabs();
    watchPictures();
    watchDrawing();
    wipe();
    $("model").addEventListener("change", () => {
        if ($("panel-draw").hidden && asked)
            ask(asked.blob, asked.preview);
        else
            wipe();
    });
    $("key-form").addEventListener("submit", event => {
        event.preventDefault();
        sessionStorage.setItem("key", $("key").value.trim());
        loadModels();
    });
    loadModels();
    setInterval(() => document.hidden || refresh(), 10000);
}

/* Looks for models again, and shows them where something has changed. */
async function refresh() {
    try {
        const index = await call("v2/repository/index", { method: "POST" });
        const same = index.length === models.size && index.every(entry => {
            const own = models.get(`${entry.name}/${entry.version}`);
            return own && own.state === entry.state && own.reason === entry.reason;
        });
        if (!same || $("state").classList.contains("bad"))
            await loadModels();
    } catch (error) {
        setState(error.message, "bad");
    }
}

start();
