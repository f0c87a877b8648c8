#!/usr/bin/env node
// Prisma's query engine, as Prisma's client for Python starts it, where its own binary cannot be fetched (it comes from Prisma's
// server, not from a registry). It is the same engine, compiled to WebAssembly, as npm's @prisma/client has it. That one takes
// JSON, the client for Python writes GraphQL: this file translates between the two, and serves it over HTTP.
//
//     engine.cjs -p PORT        with PRISMA_DML_PATH (the schema) and DATABASE_URL
'use strict'

const fs = require('fs')
const http = require('http')
const path = require('path')

if (process.argv.includes('--version')) {
  console.log('query-engine 393aa359c9ad4a4bb28630fb5613f9c281cde053')
  process.exit(0)
}

const { parse, valueFromASTUntyped } = require('graphql')
const { Pool } = require('pg')
const { PrismaPg } = require('@prisma/adapter-pg')
const { bindAdapter } = require('@prisma/driver-adapter-utils')

const runtime = path.join(path.dirname(require.resolve('@prisma/client/package.json')), 'runtime')
const glue = require(path.join(runtime, 'query_engine_bg.postgresql.js'))
const NAME_TYPES = new Set([19, 2278]) // name, void
const TEXT_TYPE = 25
const ACTION = /^(createOne|deleteOne|updateOne|upsertOne|createMany|deleteMany|updateMany|aggregate|groupBy|findMany|findFirst|findUnique)(\w+?)(OrThrow)?$/

// Model → its fields of type Json, whose values the client writes as strings of JSON.
function jsonFields(schema) {
  const found = {}
  for (const [, model, body] of schema.matchAll(/^model\s+(\w+)\s*\{([^]*?)^\}/gm)) {
    found[model] = new Set([...body.matchAll(/^\s*(\w+)\s+Json\b/gm)].map(([, field]) => field))
  }
  return found
}

// Mark what is JSON in the arguments of a call on a model, so that the engine does not take it for text.
function markJson(value, fields) {
  if (Array.isArray(value)) return value.map(item => markJson(item, fields))
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => {
    if (!fields.has(name)) return [name, markJson(inner, fields)]
    if (typeof inner === 'string') return [name, { $type: 'Json', value: inner }]
    const mark = ([operation, given]) => [operation, typeof given === 'string' ? { $type: 'Json', value: given } : given]
    return [name, inner && typeof inner === 'object' ? Object.fromEntries(Object.entries(inner).map(mark)) : inner]
  }))
}

function selection(node) {
  const chosen = {}
  for (const field of node?.selections ?? []) {
    const inner = { arguments: givenArguments(field), selection: selection(field.selectionSet) }
    chosen[field.name.value] = field.selectionSet || field.arguments.length ? inner : true
  }
  return chosen
}

function givenArguments(field) {
  return Object.fromEntries(field.arguments.map(argument => [argument.name.value, valueFromASTUntyped(argument.value)]))
}

function toJson(text, json) {
  const [field] = parse(text).definitions[0].selectionSet.selections
  const name = field.name.value
  const query = { arguments: givenArguments(field), selection: selection(field.selectionSet) }
  if (name === 'queryRaw' || name === 'executeRaw') return { action: name, query: { ...query, selection: {} } }
  const [, action, modelName, suffix] = ACTION.exec(name)
  query.arguments = markJson(query.arguments, json[modelName] ?? new Set())
  return { modelName, action: action + (suffix ?? ''), query }
}

// A value of another type than JSON has comes as {$type, value}; in GraphQL's answers it is the value alone.
function plain(value) {
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object') return value
  if ('$type' in value) return value.value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
}

async function answer(engine, json, request, body) {
  const transaction = /^\/transaction\/(?:start|([^/]+)\/(commit|rollback))$/.exec(request.url)
  if (transaction) {
    const [, id, end] = transaction
    if (!id) return engine.startTransaction(body, '{}')
    return end === 'commit' ? engine.commitTransaction(id, '{}') : engine.rollbackTransaction(id, '{}')
  }
  if (request.method !== 'POST') return JSON.stringify({ status: 'ok' })
  const asked = JSON.parse(body)
  const id = request.headers['x-transaction-id']
  if (asked.batch) {
    const batch = asked.batch.map(one => toJson(one.query, json))
    return engine.query(JSON.stringify({ batch, transaction: asked.transaction ? {} : undefined }), '{}', id)
  }
  const said = JSON.parse(await engine.query(JSON.stringify(toJson(asked.query, json)), '{}', id))
  if (!said.data) return JSON.stringify(said)
  return JSON.stringify({ data: { result: plain(Object.values(said.data)[0]) } })
}

async function main() {
  const schema = fs.readFileSync(process.env.PRISMA_DML_PATH, 'utf8')
  // The engine's build takes the schema only from a generator of its own.
  const datamodel = schema.replace(/^generator[^]*?^\}/gm, '') +
    '\ngenerator client {\n provider = "prisma-client-js"\n previewFeatures = ["driverAdapters"]\n}\n'
  const overrides = JSON.parse(process.env.OVERWRITE_DATASOURCES || '[]')
  const pool = new Pool({ connectionString: overrides[0]?.url || process.env.DATABASE_URL, max: 5 })
  // Names in Postgres' own tables, and what a function of no value returns, are of types that the adapter does not know.
  const ask = pool.query.bind(pool)
  pool.query = async (...given) => {
    const result = await ask(...given)
    for (const field of result.fields ?? []) if (NAME_TYPES.has(field.dataTypeID)) field.dataTypeID = TEXT_TYPE
    return result
  }
  const module = new WebAssembly.Module(fs.readFileSync(path.join(runtime, 'query_engine_bg.postgresql.wasm')))
  glue.__wbg_set_wasm(new WebAssembly.Instance(module, { './query_engine_bg.js': glue }).exports)
  const settings = {
    datamodel, logLevel: 'error', logQueries: false, configDir: '.', datasourceOverrides: {}, env: process.env,
    ignoreEnvVarErrors: true, engineProtocol: 'json',
  }
  const engine = new glue.QueryEngine(settings, line => console.error(line), bindAdapter(new PrismaPg(pool)))
  await engine.connect('{}')
  const json = jsonFields(schema)
  const server = http.createServer((request, response) => {
    const parts = []
    request.on('data', part => parts.push(part))
    request.on('end', async () => {
      let status = 200
      let said
      try {
        said = await answer(engine, json, request, Buffer.concat(parts).toString())
      } catch (error) {
        status = 500
        said = JSON.stringify({ error: String(error) })
      }
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(said)
    })
  })
  server.listen(Number(process.argv[process.argv.indexOf('-p') + 1]), 'localhost')
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0))
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
