'use strict'
// node bench.js VERSION SECONDS [PORT]
//
// How fast a real Seneca client gets `role:api,cmd:add` answered over TCP on loopback: by server.js of the same version in a
// process of its own, or by whatever listens on PORT. 1, 16 and 256 callers, each waiting for its answer before it calls
// again, run for SECONDS after a second of warm-up. Prints a line of JSON for each number of callers, times in microseconds;
// `cpu_us` is the CPU time of a call, in both processes (Linux only).

const { readFileSync } = require('node:fs')
const { spawn } = require('node:child_process')
const { join } = require('node:path')
const { performance } = require('node:perf_hooks')
const { seneca, print, die } = require('./seneca')

const CALLERS = [1, 16, 256]
const WARM_UP_MS = 1000

const [version, seconds, port] = process.argv.slice(2)
if (!(Number(seconds) > 0)) die(new Error('SECONDS must be a number above 0'))

if (port) run(port)
else startServer(run)

function startServer(ready) {
  const server = spawn(process.execPath, [join(__dirname, 'server.js'), version, '0'], { stdio: ['pipe', 'pipe', 'inherit'] })
  server.stdout.once('data', (line) => ready(String(line).match(/^ready (\d+)/)[1], server))
  server.on('exit', () => die(new Error('the server ended')))
}

async function run(port, server) {
  const instance = seneca(version)
  instance.client({ type: 'tcp', host: '127.0.0.1', port: Number(port), pin: 'role:api' })
  await new Promise((ready) => instance.ready(ready))
  for (const callers of CALLERS) {
    await measure(instance, callers, WARM_UP_MS)
    const before = cpuMicros(server)
    const { micros, errors, elapsed } = await measure(instance, callers, Number(seconds) * 1000)
    const used = cpuMicros(server) - before
    micros.sort()
    print({
      seneca: instance.version,
      callers,
      seconds: Math.round(elapsed) / 1000,
      calls: micros.length,
      errors,
      per_second: Math.round((micros.length * 1000) / elapsed),
      p50: Math.round(quantile(micros, 0.5)),
      p99: Math.round(quantile(micros, 0.99)),
      ...(server && { cpu_us: used / micros.length }),
    })
  }
  server?.removeAllListeners('exit').kill()
  process.exit(0)
}

async function measure(instance, callers, duration) {
  const micros = []
  let errors = 0
  const start = performance.now()
  const caller = async (number) => {
    while (performance.now() < start + duration) {
      const sent = performance.now()
      if (await add(instance, number, micros.length)) micros.push((performance.now() - sent) * 1000)
      else errors++
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, number) => caller(number)))
  return { micros: Float64Array.from(micros), errors, elapsed: performance.now() - start }
}

function add(instance, left, right) {
  return new Promise((resolve) => {
    instance.act('role:api,cmd:add', { left, right }, (error, answer) => resolve(!error && answer.result === left + right))
  })
}

function cpuMicros(server) {
  const { user, system } = process.cpuUsage()
  if (!server) return user + system
  // After the name, in parentheses: utime and stime are the 12th and 13th fields, in hundredths of a second.
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ').pop().split(' ')
  return user + system + (Number(fields[11]) + Number(fields[12])) * 10_000
}

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}
