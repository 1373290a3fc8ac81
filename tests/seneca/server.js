'use strict'
// node server.js VERSION PORT [OPTIONS]
//
// A real Seneca that serves the actions below over TCP on loopback. It prints `ready PORT` when it listens, and ends when
// its standard input closes. VERSION is 0.9 or 3; PORT may be 0. OPTIONS is JSON: `role` is that of the actions, if not api;
// `pin` is given to listen(); `client`, such as {"port":10201,"pin":"role:far"}, to client(), for `relay`; the rest to Seneca().

const Net = require('node:net')
const { seneca, die } = require('./seneca')

const [version, port, options = '{}'] = process.argv.slice(2)
const { role = 'api', pin, client, ...senecaOptions } = JSON.parse(options)
const loopback = { type: 'tcp', host: '127.0.0.1' }

process.stdin.on('end', () => process.exit(0)).resume()
printThePortOfTheNextServer()

const instance = seneca(version, senecaOptions)
const ready = new Promise((resolve) => instance.ready(resolve))
addActions()
if (client) instance.client({ ...loopback, ...client })
instance.listen({ ...loopback, port: Number(port), ...(pin && { pin }) })

// Only the socket knows its port: 0.9 does not tell. It may listen before it is ready.
function printThePortOfTheNextServer() {
  const createServer = Net.createServer
  Net.createServer = (...given) => {
    Net.createServer = createServer
    const server = createServer(...given)
    return server.on('error', die).once('listening', async () => {
      await ready
      console.log(`ready ${server.address().port}`)
    })
  }
}

function addActions() {
  let notes = 0
  let held = []
  const answers = {
    add: ({ left, right }) => ({ result: left + right }),
    mcl: ({ left, right }) => ({ result: left * right }),
    echo: ({ what }) => ({ what }),
    seen: (message) => ({ seen: message }),
    list: () => ['one', 2, { three: 3 }],
    empty: () => undefined,
    note: () => ({ notes: ++notes }),
    noted: () => ({ notes }),
    same: ({ what }) => what,
    holding: () => ({ holding: held.length }),
    release: () => releaseTheLastFirst(),
  }
  for (const [cmd, answer] of Object.entries(answers)) {
    instance.add({ role, cmd }, (message, reply) => reply(null, answer(message)))
  }
  instance.add({ role, cmd: 'slow' }, ({ ms }, reply) => {
    setTimeout(() => reply(null, { slept: ms }), ms)
  })
  instance.add({ role, cmd: 'fail' }, ({ shelf }, reply) => {
    reply(Object.assign(new Error('the shelf is empty'), { code: 'shelf_empty', shelf }))
  })
  instance.add({ role, cmd: 'plain_fail' }, (message, reply) => reply(new Error('the shelf is empty')))
  instance.add({ role, cmd: 'throw' }, () => {
    throw Object.assign(new Error('the shelf fell down'), { code: 'shelf_fell' })
  })
  instance.add({ role, cmd: 'twice' }, (message, reply) => {
    reply(null, { time: 1 })
    reply(null, { time: 2 })
  })
  instance.add({ role, cmd: 'hold' }, ({ number }, reply) => {
    notes++
    held.push(() => reply(null, { held: number }))
  })
  instance.add({ role, cmd: 'relay' }, function ({ act, message }, reply) {
    this.act(act, message, reply)
  })

  function releaseTheLastFirst() {
    const released = held.reverse()
    held = []
    setImmediate(() => released.forEach((answer) => answer()))
    return { released: released.length }
  }
}
