'use strict'
// What the scripts share: the two versions of Seneca, made silent so that only our own lines are on standard output.

const { createInterface } = require('node:readline')

const STARTING_MS = 60_000
const PACKAGES = { 0.9: 'seneca-0.9', 3: 'seneca-3' }

// A `timeout` counts from when it is ready: a busy machine takes longer than a short one to start it, which would end it.
// `instance.timeout(ms)` sets another one later.
exports.seneca = function seneca(version, { timeout, ...options } = {}) {
  if (!(version in PACKAGES)) throw new Error(`Seneca ${version} is not one of ${Object.keys(PACKAGES)}`)
  const setOfOld = version === '0.9' && handOverItsClock()
  const instance = require(PACKAGES[version])({ log: 'silent', timeout: STARTING_MS, ...options })
  instance.timeout = setOfOld || ((timeout) => instance.options({ timeout }))
  instance.ready(() => timeout && instance.timeout(timeout))
  return instance
}

// 0.9 hands its time-out to this package at its start; the package can be handed another clock.
function handOverItsClock() {
  const path = require.resolve('gate-executor')
  const Executor = require(path)
  let ms = STARTING_MS
  const stubs = { setTimeout: (callback) => setTimeout(callback, ms), Date: {} }
  require.cache[path].exports = (options) => Executor({ ...options, stubs })
  return (timeout) => (ms = timeout)
}

exports.print = function print(line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

exports.onLines = function onLines(onLine, onEnd) {
  createInterface({ input: process.stdin })
    .on('line', (line) => line.trim() && onLine(JSON.parse(line)))
    .on('close', onEnd)
}

exports.die = function die(error) {
  exports.print({ uncaught: error?.message ?? String(error) })
  told = true
  process.exit(1)
}

// Seneca swallows what a callback throws, and 0.9 ends the process by itself after some errors: neither may pass unseen.
let told = false
process.on('uncaughtException', exports.die)
process.on('unhandledRejection', exports.die)
process.on('exit', (status) => {
  if (status !== 0 && !told) exports.print({ uncaught: 'Seneca ended the process: see standard error' })
})
