// WebSockets of a program, with the token in a header and in a cookie.
import WebSocket from 'ws'

const [url] = process.argv.slice(2)
const open = headers => new WebSocket(new URL('/clock', url.replace('http', 'ws')), { headers })
const message = socket => new Promise(done => socket.once('message', data => done(String(data))))
const close = socket => new Promise(done => socket.once('close', (code, reason) => done(`${code} ${reason}`)))

const one = open({ Authorization: 'Bearer s3cret' })
const closed = [close(one)]
console.log('one', await message(one))
const other = open({ Cookie: 'theme=dark; session=s3cret' })
closed.push(close(other))
console.log('other', await message(other))
console.log('one closed', await closed[0])
console.log('other closed', await closed[1])
const refused = open({ Authorization: 'Bearer s3cret' })
refused.once('unexpected-response', (_, response) => {
    console.log(response.statusCode === 401 ? 'refused' : `answered ${response.statusCode}`)
    process.exit()
})
