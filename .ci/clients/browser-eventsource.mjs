// EventSource in a browser, which can send no header: a small proxy of the same origin adds it. The
// proxy also cuts the stream once, and sees when the browser comes again and with what.
import http from 'node:http'
import { open } from './browser.mjs'

const [url, token] = process.argv.slice(2)
// The gateway asks for one second; left to itself chromium waits for three.
const IN_TIME = { least: 900, most: 2500 }

let stream, cutAt
const proxy = http.createServer((request, response) => {
    if (request.url === '/') return response.setHeader('Content-Type', 'text/html').end('<!doctype html>')
    if (request.url === '/cut') {
        stream.destroy()
        cutAt = Date.now()
        console.log('cut')
        return response.end()
    }
    if (cutAt) {
        const waited = Date.now() - cutAt
        const inTime = waited >= IN_TIME.least && waited <= IN_TIME.most && request.headers['last-event-id']
        console.log(inTime ? 'came again in time' : `came again after ${waited} ms`)
        cutAt = undefined
    }
    const headers = { ...request.headers, host: new URL(url).host, authorization: `Bearer ${token}` }
    const upstream = http.get(url + '?resume', { headers }, answer => {
        response.writeHead(answer.statusCode, answer.headers)
        answer.pipe(response)
        if (answer.statusCode !== 200) console.log('refused', answer.statusCode)
    })
    stream = response
    response.on('close', () => upstream.destroy())
    upstream.on('error', () => response.destroy())
})
await new Promise(done => proxy.listen(0, '127.0.0.1', done))

const { browser, page } = await open(`http://127.0.0.1:${proxy.address().port}/`)
await page.evaluate(() => new Promise(done => {
    let wasCut = false
    const source = new EventSource('/events')
    source.addEventListener('history', () => tell('history'))
    source.addEventListener('message', async event => {
        await tell(`message ${JSON.parse(event.data).message.content}`)
        if (!wasCut) await fetch('/cut')
        wasCut = true
    })
    let errors = 0
    source.addEventListener('error', () => {
        errors += 1
        // The first is the cut, the second the end, and at the third the browser gives up.
        if (errors === 2) tell('ended')
        if (source.readyState === EventSource.CLOSED) done()
    })
}))
await browser.close()
proxy.closeAllConnections()
proxy.close()
