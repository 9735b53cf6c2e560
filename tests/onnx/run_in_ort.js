// ONNX files in ONNX Runtime, compared with what they should give: run_in_ort.js PEERS FOLDER < LINES
// Each line of JSON names a file, its inputs and its outputs (written.c). Prints a line for each: the
// largest difference and the largest result, or the error. Batched ones are run with one sample too.
'use strict';
const fs = require('fs');
const path = require('path');
const [peers, folder] = process.argv.slice(2);
const ort = require(path.resolve(peers, 'node_modules', 'onnxruntime-node'));

const arrays = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array,
  int32: Int32Array, uint8: Uint8Array, bool: Uint8Array };

function read(tensor) {
  const bytes = fs.readFileSync(path.join(folder, tensor.file));
  const room = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  return new arrays[tensor.type](room);
}

function firstSample(tensor, data) {
  const size = data.length / tensor.shape[0];
  return { data: data.slice(0, size), shape: [1, ...tensor.shape.slice(1)] };
}

function distance(a, b) {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return 0;
  const difference = Math.abs(a - b);
  return Number.isNaN(difference) ? Infinity : difference;
}

async function compare(session, one, found, single) {
  const feeds = {};
  for (const tensor of one.inputs) {
    const whole = { data: read(tensor), shape: tensor.shape };
    const used = single ? firstSample(tensor, whole.data) : whole;
    feeds[tensor.name] = new ort.Tensor(tensor.type, used.data, used.shape);
  }
  const results = await session.run(feeds);
  for (const tensor of one.outputs) {
    const whole = { data: read(tensor), shape: tensor.shape };
    const wanted = single ? firstSample(tensor, whole.data) : whole;
    const result = results[tensor.name];
    if (!result) throw new Error(`there is no output ${tensor.name}`);
    if (String(result.dims) !== String(wanted.shape))
      throw new Error(`${tensor.name} has shape (${result.dims}) instead of (${wanted.shape})`);
    if (result.type !== tensor.type)
      throw new Error(`${tensor.name} is ${result.type} instead of ${tensor.type}`);
    for (let i = 0; i < wanted.data.length; i++) {
      const a = Number(result.data[i]), b = Number(wanted.data[i]);
      found.difference = Math.max(found.difference, distance(a, b));
      if (Number.isFinite(b)) found.largest = Math.max(found.largest, Math.abs(b));
    }
  }
}

async function run(one) {
  if (one.error) return one;
  const found = { name: one.name, difference: 0, largest: 0 };
  try {
    const session = await ort.InferenceSession.create(path.join(folder, one.model),
      { intraOpNumThreads: 1, logSeverityLevel: 3 });
    await compare(session, one, found, false);
    if (one.batched) await compare(session, one, found, true);
    await session.release();
  } catch (error) {
    return { name: one.name, error: String(error).slice(0, 1000) };
  }
  return found;
}

async function main() {
  for (const line of fs.readFileSync(0, 'utf8').trim().split('\n'))
    console.log(JSON.stringify(await run(JSON.parse(line)),
      (key, value) => (value === Infinity ? 'infinite' : value)));
}
main();
