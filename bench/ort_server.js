// A model in ONNX Runtime behind Node's HTTP server, as one writes it in an afternoon:
// ort_server.js PEERS MODEL THREADS. Takes the binary requests of the Open Inference Protocol, one
// float32 input; prints its port. Its threads do not spin: beside 64 clients that makes it faster.
'use strict';
const http = require('http');
const path = require('path');
const [peers, model, threads] = process.argv.slice(2);
const ort = require(path.resolve(peers, 'node_modules', 'onnxruntime-node'));

async function infer(session, request, body) {
  const length = Number(request.headers['inference-header-content-length']);
  const head = JSON.parse(body.subarray(0, length));
  const input = head.inputs[0];
  const size = input.parameters.binary_data_size;
  const room = body.buffer.slice(body.byteOffset + length, body.byteOffset + length + size);
  const tensor = new ort.Tensor('float32', new Float32Array(room), input.shape);
  const result = (await session.run({ [input.name]: tensor })).logits;
  return { model_name: 'net', outputs: [{ name: 'logits', datatype: 'FP32', shape: result.dims,
    data: Array.from(result.data) }] };
}

async function main() {
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: Number(threads), graphOptimizationLevel: 'all',
    extra: { session: { intra_op: { allow_spinning: '0' } } } });
  const server = http.createServer((request, response) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', async () => {
      try {
        const text = JSON.stringify(await infer(session, request, Buffer.concat(pieces)));
        response.writeHead(200, { 'Content-Type': 'application/json' }).end(text);
      } catch (error) {
        response.writeHead(400, { 'Content-Type': 'application/json' })
          .end(JSON.stringify({ error: String(error) }));
      }
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
}
main().catch((error) => { console.error(String(error)); process.exit(1); });
