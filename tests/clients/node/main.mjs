// A client of ClickHouse's HTTP interface as programs on Node are: what each step gave, as JSON on stdout.
// Arguments: URL, user, password, "true" for packed requests and answers, rows to insert.
import { createClient } from '@clickhouse/client'

const [url, username, password, packed, rows] = process.argv.slice(2)
const compression = { request: packed === 'true', response: packed === 'true' }
const open = (password, more = {}) => createClient({ url, username, password, compression, ...more })
const failure = (work) => work.then(() => 'none', (error) => error.code ?? error.name)

const client = open(password)
const made = { ping: (await client.ping()).success }

const bound = await client.query({
  query: "SELECT {s:String} AS s, {n:UInt8} + 1 AS n, {l:Array(String)} AS l",
  query_params: { s: "a'b\\c\tü", n: 41, l: ["x'", 'y'] },
  format: 'JSONEachRow',
})
made.parameters = (await bound.json())[0]

await client.insert({
  table: 'otel_logs',
  values: Array.from({ length: Number(rows) }, (_, n) => ({ Body: `${n} '\\\t\n ü`, SeverityNumber: n % 200 })),
  format: 'JSONEachRow',
})
const counted = await client.query({ query: 'SELECT count() AS n FROM otel_logs', format: 'JSON' })
made.inserted = Number((await counted.json()).data[0].n)

const read = async (query, abort_signal) => {
  const found = await client.query({ query, format: 'JSONEachRow', abort_signal })
  let streamed = 0
  for await (const batch of found.stream()) streamed += batch.length
  return streamed
}
made.streamed = await read('SELECT number FROM numbers(500000)')
made.early = await failure(read('SELECT * FROM absent'))
made.late = await failure(read('SELECT number, randomPrintableASCII(30), throwIf(number = 499999) FROM numbers(500000)'))
made.canceled = await failure(read('SELECT count() FROM numbers(1000000000000)', AbortSignal.timeout(300)))

const kept = open(password, { session_id: `s${process.pid}` })
await kept.command({ query: 'SET max_block_size = 12' })
const setting = await kept.query({ query: "SELECT getSetting('max_block_size') AS n", format: 'JSONEachRow' })
made.session = Number((await setting.json())[0].n)

const stranger = open('wrong')
made.wrong = (await stranger.ping({ select: true })).error?.code
await Promise.all([client, kept, stranger].map((each) => each.close()))
console.log(JSON.stringify(made))
