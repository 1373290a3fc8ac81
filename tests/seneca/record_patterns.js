// Records what Seneca's own packages make of patterns, messages and relaxed JSON, for src/service to be compared with.
//
//   npm install --prefix 3 seneca@3.38.0
//   npm install --prefix 0 seneca@0.9.3
//   node record_patterns.js 3 0
//
// writes, the same each time:
// - patrun.jsonl: on each line the patterns, in the order of their insertion, then messages, each with the place of the pattern that
//   patrun 7.3 finds, -1 if none agrees, and -2 if it finds none although one agrees.
// - jsonic.jsonl: on each line a text, and what jsonic 2.16 and 0.2 make of it, or null where that is no object or not JSON.
'use strict'

const fs = require('fs')
const path = require('path')

const [folder3, folder0] = process.argv.slice(2).map((folder) => path.resolve(folder))
const from = (folder, name) => require(require.resolve(name, { paths: [folder] }))
const { Patrun, Gex } = from(folder3, 'patrun')
const jsonic3 = from(folder3, 'jsonic')
const jsonic0 = from(folder0, 'jsonic')

/** A linear congruential generator, so that every run writes the same. */
let state = 785
function below(limit) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * limit)
}
const oneOf = (list) => list[below(list.length)]
const some = (most, make) => Array.from({ length: below(most + 1) }, make)

// ---- Patterns and messages

const FEW = { keys: ['a', 'b', 'c', 'd'], values: ['1', '2'], globs: ['*'] }
const GLOBS = {
  keys: ['a', 'b', 'c'],
  values: ['x', 'xy', 'xyz', ''],
  globs: ['*', 'x*', '*y', '?', 'x?', '*y*', 'x*z', '??*', 'x*y*z'],
}
const ODD = {
  keys: ['a', 'B', 'é', '\u{1f600}', '\uff21', 'a b', '10', '9', 'a.b', '\u{10000}', '\ue000'],
  values: [1, '1', '1.0', true, 'true', 0, -0, '-0', 0.1, 1e21, '1e+21', 1e-7, '1e-7', 123456789012345680000, 'é', '\u{1f600}', null, ' '],
  globs: ['?', '??', '*', '1*', '*e*', 't??e'],
}
const ESCAPES = {
  keys: ['a', 'b'],
  values: ['*', '?', '**', 'x*', 'x?y', 'x*y', 'x.y', '[x]', '(x)', 'x\ny', '^', '$', '\\', '\\*', 'a-z', '{1}'],
  globs: ['**', '*?', 'x**', 'x*?y', '***', '****', '**?', '?**?', '*?*', 'x.*', '[*]', '(*)', 'x*y', '\\*', '*\n*', '^*$', '[a-z]*', '{?}'],
}
const STRUCTURES = [[], [1, 2], ['x'], [[1, [2]], null, true], [null], {}, { a: 1 }, [{}, 'x']]
const STRUCTURES_AS_TEXT = { keys: ['a', 'b'], values: ['', '1,2', 'x', '1,2,,true', '[object Object]', '[object Object],x'], globs: [] }

function pattern(pool) {
  const pair = () => [oneOf(pool.keys), oneOf(below(3) || !pool.globs.length ? pool.values : pool.globs)]
  return Object.fromEntries(Array.from({ length: below(15) ? 1 + below(4) : 0 }, pair))
}

function message(pool) {
  const values = pool === STRUCTURES_AS_TEXT ? STRUCTURES.concat(pool.values) : pool.values.concat([null])
  const globbed = pool === ESCAPES || pool === ODD ? [] : pool.globs
  const keys = pool.keys.filter(() => below(5))
  return Object.fromEntries(keys.map((key) => [key, below(12) || !globbed.length ? oneOf(values) : oneOf(globbed)]))
}

const isGlob = (value) => /[*?]/.test(value)

/** Without a trie: whether every pair agrees. */
function agrees(pattern, message) {
  return Object.entries(pattern).every(([key, value]) => {
    if (value == null) return true
    if (message[key] == null) return false
    return isGlob(value) ? Gex(value).match(message[key]) : String(value) === String(message[key])
  })
}

function recordPatrun(pool, sets, messages) {
  return Array.from({ length: sets }, () => {
    const patterns = Array.from({ length: 2 + below(7) }, () => pattern(pool))
    const patrun = Patrun({ gex: true })
    patterns.forEach((pattern, place) => patrun.add(pattern, place))
    const answers = Array.from({ length: messages }, () => {
      const asked = message(pool)
      const found = patrun.find(asked)
      if (found !== null) {
        if (!agrees(patterns[found], asked)) throw new Error(JSON.stringify([patterns[found], asked]))
        return [asked, found]
      }
      return [asked, patterns.some((pattern) => agrees(pattern, asked)) ? -2 : -1]
    })
    return [patterns, ...answers]
  })
}

const patrun = [
  ...recordPatrun(FEW, 120, 10),
  ...recordPatrun(GLOBS, 120, 10),
  ...recordPatrun(ODD, 60, 10),
  ...recordPatrun(ESCAPES, 60, 10),
  ...recordPatrun(STRUCTURES_AS_TEXT, 20, 10),
]

// ---- Relaxed JSON

const TEXTS = [
  'role:api,cmd:add,left:2,right:3', '{role:api,cmd:add}', '{role:api,cmd:add', 'role:api}', 'role:api,', 'role:api,,cmd:add', ',role:api',
  '{}', '{,a:1}', 'a:', 'a:,b:1', '{a:}', ' a : 1 , b : 2 ', 'a:b c', 'a:1 b:2', 'a:1\nb:2', 'a:1\r\nb:2', 'a:1 2', 'a b:1', 'a:"x" b:1',
  'a:"x"y', 'a:x"y', "a:it's", "a:'it''s'", "a:'it\\'s'", 'a:true x', 'a:[1 2]', 'a:[1,,2]', 'a:[,1]', 'a:[1,]', 'a:[]', 'a:[ ]', 'a:[a:1]',
  'a:{b:{c:[{d:e}]}}', 'a:{b:1},a:{c:2}', 'a:1,a:2', 'a:b:1', 'a:127.0.0.1:80', 'a:http://x/y', 'a:x#y', 'a:x//y', 'a:x/*y*/', 'a:/x/y', 'a:1 #x',
  'a:`x`', '`a`:1', 'a:"\\n\\t\\b\\f\\r\\/\\\\\\""', 'a:"\\u0041\\ud83d\\ude00"', 'a:"\\x41"', 'a:"\\q"', 'a:"\n"', 'a:"x', "a:'", '"a":1', "'a b':1",
  '"":1', ':1', '{a}', 'a', 'a,b', '[1,2]', '1', 'true', '"a"', '{a:1}}', '{a:1}x', '{{a:1}}', '{a:1},{b:2}', 'a:x{y', 'a:x[y', 'a:x]y', 'a:]',
  'a:{},b:1', 'a:[1]b:2', 'a:{b:1}c:2', 'a$:1', '$a:1', 'a*:1', 'a.b:1', 'a-b:1', 'a/b:1', 'é:1', '日本:語', '😀:😀', '__proto__:1', 'true:1',
  '1.0:2', 'a:x;y', 'a:x=y', 'a:(x)', 'a:<x>', 'a:@x', 'a:*', 'a:ab*', 'a:?', 'a:x\\y', 'a:%20', 'a:!x', 'a:x|y&z', 'a:\tb', 'a:\nb', 'a\n:1',
]
const NUMBERS = ['0', '1', '017', '00', '12', '1_000', '1_', '_1', '1__0', '0x10', '0xfF', '0X10', '0x', '0b11', '0b2', '0o17', '0o8', '0x1_0', '0x_1']
const FRACTIONS = ['', '.', '.5', '.50', '.5_0', '.5_', '._5', '._', '..5', '.5.5', '.0']
const EXPONENTS = ['', 'e3', 'E+3', 'e-3', 'e', 'e1_0', 'e+', 'e1.5', 'e-7', 'x']
for (const sign of ['', '-', '+', '--'])
  for (const number of ['', ...NUMBERS])
    for (const fraction of FRACTIONS)
      for (const exponent of EXPONENTS) if (below(12) === 0) TEXTS.push(`a:${sign}${number}${fraction}${exponent}`)
const PIECES = ['a', 'b', '1', 'x y', ':', ':', ':', ',', ',', '{', '}', '[', ']', '"', "'", '"q"', "'q'", ' ', 'true', 'null', '\\', '-', '.', '\n']
for (let i = 0; i < 900; i++) TEXTS.push('a:1,b:' + some(7, () => oneOf(PIECES)).join(''))

function read(jsonic, text) {
  try {
    const read = jsonic(text)
    const json = JSON.stringify(read, (_, value) => (Number.isFinite(value) || typeof value !== 'number' ? value : { infinite: true }))
    const isObject = read !== null && typeof read === 'object' && !Array.isArray(read)
    return isObject && !json.includes('infinite') ? read : null
  } catch (_) {
    return null
  }
}

const jsonic = [...new Set(TEXTS)].map((text) => [text, read(jsonic3, text), read(jsonic0, text)])

const write = (name, lines) => fs.writeFileSync(path.join(__dirname, name), lines.map((line) => JSON.stringify(line) + '\n').join(''))
write('patrun.jsonl', patrun)
write('jsonic.jsonl', jsonic)
