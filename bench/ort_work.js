// One model in ONNX Runtime, timed: ort_work.js PEERS FOLDER REPEAT THREADS TYPE SHAPE
// Reads FOLDER/model.onnx and input.bin, writes result.bin, prints JSON with the median of seconds.
'use strict';
const fs = require('fs');
const path = require('path');
const [peers, folder, repeat, threads, type, shape] = process.argv.slice(2);
const ort = require(path.resolve(peers, 'node_modules', 'onnxruntime-node'));

async function main() {
  const session = await ort.InferenceSession.create(path.join(folder, 'model.onnx'), {
    intraOpNumThreads: Number(threads), graphOptimizationLevel: 'all' });
  const bytes = fs.readFileSync(path.join(folder, 'input.bin'));
  const room = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const data = type === 'int64' ? new BigInt64Array(room) : new Float32Array(room);
  const x = new ort.Tensor(type, data, shape.split('x').map(Number));
  const warmUp = Number(repeat) > 1 ? 2 : 0;
  const seconds = [];
  let result;
  for (let i = -warmUp; i < Number(repeat); i++) {
    const begun = process.hrtime.bigint();
    result = await session.run({ x });
    if (i >= 0) seconds.push(Number(process.hrtime.bigint() - begun) * 1e-9);
  }
  fs.writeFileSync(path.join(folder, 'result.bin'), Buffer.from(Object.values(result)[0].data.buffer));
  seconds.sort((a, b) => a - b);
  console.log(JSON.stringify({ seconds: seconds[seconds.length >> 1] }));
}
main().catch((error) => { console.error(String(error)); process.exit(1); });
