// WebSockets of a browser, which can send no header: with the token in a subprotocol and in a cookie. A page of another
// origin gets nowhere with the cookie.
import http from 'node:http'
import { open } from './browser.mjs'

const [url] = process.argv.slice(2)
const { browser, page } = await open(url)
await page.evaluate(async url => {
    const connect = protocols => new WebSocket(new URL('/clock', url.replace('http', 'ws')), protocols)
    const message = socket => new Promise(done => { socket.onmessage = event => done(event.data) })
    const close = socket => new Promise(done => { socket.onclose = event => done(`${event.code} ${event.reason}`) })

    const one = connect(['clock', 'bearer.' + encodeURIComponent('s3cret')])
    window.ends = [close(one)]
    await tell(`one ${await message(one)}`)
    if (one.protocol !== 'clock') await tell(`chosen: ${one.protocol}`)
    await fetch('/sign-in', { method: 'POST' })
    const other = connect(['clock'])
    window.ends.push(close(other))
    await tell(`other ${await message(other)}`)
}, url)

// The same site, for the port does not count there: the cookie is sent, and not taken.
const elsewhere = http.createServer((_, response) => response.setHeader('Content-Type', 'text/html').end('<!doctype html>'))
await new Promise(done => elsewhere.listen(0, '127.0.0.1', done))
const stranger = await page.context().newPage()
await stranger.goto(`http://127.0.0.1:${elsewhere.address().port}/`)
const opened = await stranger.evaluate(url => new Promise(done => {
    const socket = new WebSocket(new URL('/clock', url.replace('http', 'ws')), ['clock'])
    socket.onopen = () => done(true)
    socket.onerror = () => done(false)
}), url)
if (opened) console.log('a page of another origin has a socket')
elsewhere.close()

await page.evaluate(async url => {
    await tell(`one closed ${await window.ends[0]}`)
    await tell(`other closed ${await window.ends[1]}`)
    const refused = new WebSocket(new URL('/clock', url.replace('http', 'ws')), ['clock'])
    await new Promise(done => { refused.onerror = done })
    await tell('refused')
}, url)
await browser.close()
