'use strict'
const data = JSON.parse(document.getElementById('data').textContent)
const part = id => document.getElementById(id)
const DECISIONS = {accept: ['Accept', 'a'], reject: ['Reject', 'r'], 'leave out': ['Leave out', 'l']}
const AT_ONCE = innerWidth < 700 ? 12 : 48  // cards that are drawn before somebody asks for more
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu  // what would act on the text around it

function visible(text) { return String(text).replace(HIDDEN, sign => '\\u' + sign.codePointAt(0).toString(16).padStart(4, '0')) }

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== 'list') element[name] = value
    else element.setAttribute(name, value)
  }
  element.append(...children.map(child => typeof child === 'string' ? visible(child) : child))
  return element
}

function bytesOf(text) { return Uint8Array.from(atob(text), sign => sign.charCodeAt(0)) }

// Pictures on sheets

class Sheets {
  constructor(facts) {
    Object.assign(this, facts)
    this.opened = []
  }
  sheet(number) {
    if (!this.opened[number]) {
      const image = new Image()
      image.src = 'data:image/webp;base64,' + this.files[number]
      this.opened[number] = image.decode().then(() => image)
    }
    return this.opened[number]
  }
  async draw(canvas, place) {
    const perSheet = this.columns * this.rows
    const within = place % perSheet
    canvas.width = this.width
    canvas.height = this.height
    if (Math.max(this.width, this.height) < 129) canvas.classList.add('small')
    const image = await this.sheet(Math.floor(place / perSheet))
    canvas.getContext('2d').drawImage(image, this.width * (within % this.columns), this.height * Math.floor(within / this.columns),
      this.width, this.height, 0, 0, this.width, this.height)
    canvas.dataset.drawn = 'yes'
  }
}

function picture(sheets, place, words) {
  const canvas = make('canvas', {role: 'img', 'aria-label': visible(words)})
  const frame = make('span', {className: 'picture'}, canvas)
  frame.style.aspectRatio = sheets.width + ' / ' + sheets.height
  sheets.draw(canvas, place)
  return frame
}

// Maps: signed bytes, coloured here

const WARM = [[70, 0, 130], [205, 40, 95], [255, 150, 30], [255, 245, 150]]

function warm(value) {
  const place = Math.min(2.999, 3 * value)
  const [low, high] = [WARM[Math.floor(place)], WARM[Math.floor(place) + 1]]
  return low.map((part, i) => part + (place % 1) * (high[i] - part))
}

function drawMap(canvas, maps, row, layer) {
  const {height, width, titles, both} = maps
  const size = height * width
  const start = (row * titles.length + layer) * size
  canvas.width = width
  canvas.height = height
  const pixels = new ImageData(width, height)
  for (let i = 0; i < size; i++) {
    const value = maps.values[start + i] / 127
    const colour = both[layer] ? (value > 0 ? [255, 120, 0] : [30, 120, 255]) : warm(Math.max(0, value))
    pixels.data.set([...colour, 255 * Math.min(1, both[layer] ? Math.abs(value) : Math.max(0, 1.4 * value))], 4 * i)
  }
  canvas.getContext('2d').putImageData(pixels, 0, 0)
}

function addMap(frame, maps, row, layer) {
  frame.querySelector('.map')?.remove()
  if (row < 0 || layer < 0) return
  const canvas = make('canvas', {className: 'map', 'aria-hidden': 'true'})
  drawMap(canvas, maps, row, layer)
  frame.append(canvas)
}

// Decisions, of all decks together

const store = {
  key: 's8lib-review-' + data.key,
  past: [],  // pairs: the key of an image, what was decided
  load() {  // a page without an origin of its own has no storage
    try { this.past = JSON.parse(localStorage.getItem(this.key)).filter(([id, decision]) => images.has(id) && isPossible(images.get(id), decision)) } catch { this.past = [] }
  },
  keep() {
    try {
      localStorage.setItem(this.key, JSON.stringify(this.past))
      part('kept').textContent = 'Decisions are kept in this browser. Save them when you are done.'
    } catch { part('kept').textContent = 'This browser keeps nothing here: save the decisions before you leave.' }
  },
  get known() { return new Map(this.past) },  // the last decision about an image holds
  get text() {
    const known = this.known
    const rows = [...images].filter(([id]) => known.has(id)).map(([id, image]) => {
      const {path, split, label, proposed} = image
      return {path, split, label, decision: known.get(id), proposed}
    })
    return JSON.stringify({format: data.format, version: data.version, labels: data.labels, decisions: rows}, null, 1)
  },
  say(words = '') {
    const known = this.known
    if (!images.size) return part('progress').textContent = words
    const counts = Object.keys(DECISIONS).map(name => [...known.values()].filter(each => each === name).length + ' ' + name)
    part('progress').textContent = visible(`${words} Decided: ${known.size} of ${images.size} (${counts.join(', ')}).`.trim())
    part('text').value = this.text
  }
}

function isPossible(image, decision) {
  if (decision === 'leave out') return image.split === 'train'
  return decision === 'reject' || decision === 'accept' && image.proposed !== '' && image.proposed !== image.label
}

function percent(share) { return (100 * share).toFixed(share > .9995 || share < .1 ? 1 : 0) + '%' }

function number(value) { return Math.abs(value) >= 1000 ? value.toLocaleString('en') : String(+value.toPrecision(3)) }

// A deck: its filters, its cards, its panel

class Browser {
  constructor(deck) {
    Object.assign(this, deck)
    this.section = part('deck-' + this.id)
    this.sheets = new Sheets(this.pictures)
    if (this.near) this.nearSheets = new Sheets(this.near.pictures)
    if (this.maps) this.maps.values = new Int8Array(bytesOf(this.maps.bytes).buffer)
    this.layer = -1
    this.number = AT_ONCE
    this.at = -1
    this.showsEvidence = false
    this.panel = make('div', {className: 'panel'})
    if (data.single) this.section.append(this.panel)
    else this.build()
  }

  idOf(at) { return this.splits[at] + '/' + this.names[at] }
  image(at) { return {path: this.names[at], split: this.splits[at], label: this.labels[at], proposed: this.proposed[at]} }
  title(at) {
    const [label, called] = [this.labels[at], this.called[at]]
    return label === called ? label : `${label} → ${called}`
  }

  build() {
    const control = (words, element) => make('label', {}, words, element)
    this.search = make('input', {type: 'search', placeholder: 'name of the file'})
    this.selects = Object.entries(this.facets).map(([title, facet]) => {
      const counts = facet.options.map((_, i) => facet.members[i].length)
      const options = facet.options.map((name, i) => make('option', {value: i}, `${visible(name)} (${counts[i]})`))
      return [title, make('select', {}, make('option', {value: ''}, 'all'), ...options)]
    })
    this.order = make('select', {}, ...Object.keys(this.sorts).map(title => make('option', {value: title}, title)))
    const controls = make('div', {className: 'controls', role: 'search', 'aria-label': 'Choose from: ' + this.heading},
      control('search', this.search), ...this.selects.map(([title, select]) => control(title, select)), control('sort by', this.order))
    if (this.maps) controls.append(...this.viewControls())
    this.count = make('span', {role: 'status'})
    const clear = make('button', {type: 'button'}, 'Clear the filters')
    this.list = make('ul', {className: 'cards'})
    this.more = make('button', {type: 'button'}, 'Show more')
    this.dialog = make('dialog', {'aria-label': 'One image'}, this.panel)
    this.section.append(controls, make('p', {}, this.count, ' ', clear), this.list, make('p', {}, this.more), this.dialog)
    for (const element of [this.search, ...this.selects.map(pair => pair[1]), this.order]) element.addEventListener('input', () => this.show())
    clear.addEventListener('click', () => this.choose({}))
    this.more.addEventListener('click', () => this.showMore())
    this.dialog.addEventListener('close', () => this.closed())
    this.dialog.addEventListener('click', event => { if (event.target === this.dialog) this.dialog.close() })
  }

  viewControls() {
    const name = 'layer-' + this.id
    const radios = ['the image', ...this.maps.titles].map((title, i) => {
      const radio = make('input', {type: 'radio', name, value: i - 1, checked: i - 1 === this.layer})
      radio.addEventListener('change', () => this.setLayer(i - 1))
      return make('label', {}, radio, title)
    })
    const strength = make('input', {type: 'range', min: 0, max: 100, value: 70})
    strength.addEventListener('input', () => this.section.style.setProperty('--strength', strength.value / 100))
    return [make('fieldset', {}, make('legend', {}, 'show'), ...radios), make('label', {}, 'strength of the map', strength)]
  }

  setLayer(layer) {
    this.layer = layer
    for (const card of this.list.children) addMap(card.querySelector('.picture'), this.maps, this.maps.rows[card.dataset.at], layer)
  }

  choose(wanted) {  // title of a facet to an option; one that no image here has shows none
    const numbers = this.selects.map(([title]) => title in wanted ? this.facets[title].options.indexOf(wanted[title]) : '')
    this.selects.forEach(([, select], i) => select.value = numbers[i])
    this.search.value = ''
    this.show(numbers.includes(-1) ? [] : this.chosen())
  }

  chosen() {
    const words = this.search.value.trim().toLowerCase()
    const sets = this.selects.filter(pair => pair[1].value !== '').map(([title, select]) => new Set(this.facets[title].members[select.value]))
    const fits = at => sets.every(set => set.has(at)) && (!words || this.names[at].toLowerCase().includes(words))
    return this.sorts[this.order.value].filter(fits)
  }

  show(places = this.chosen()) {
    this.places = places
    this.number = AT_ONCE
    this.list.replaceChildren(...this.places.slice(0, this.number).map(at => this.card(at)))
    this.told()
  }

  showMore() {
    const first = this.number
    this.number += 4 * AT_ONCE
    this.list.append(...this.places.slice(first, this.number).map(at => this.card(at)))
    this.list.children[first]?.firstChild.focus()
    this.told()
  }

  told() {
    const drawn = Math.min(this.number, this.places.length)
    this.count.textContent = `${this.places.length.toLocaleString('en')} of ${this.names.length.toLocaleString('en')}` + (drawn < this.places.length ? `, the first ${drawn} here.` : '.')
    this.more.hidden = drawn === this.places.length
  }

  card(at) {
    const frame = picture(this.sheets, at, 'image ' + this.names[at])
    if (this.maps) addMap(frame, this.maps, this.maps.rows[at], this.layer)
    const decision = store.known.get(this.idOf(at))
    const link = make('a', {className: 'card', href: '#' + encodeURIComponent(this.idOf(at))}, frame, make('b', {}, this.title(at)),
      make('small', {}, this.names[at]), ' ')
    for (const words of [this.badges[at], decision]) if (words) link.append(make('span', {className: 'badge'}, words), ' ')
    link.addEventListener('click', event => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return  // a new tab opens the page at this image
      event.preventDefault()
      this.open(at)
    })
    return make('li', {'data-at': at}, link)
  }

  // The panel of one image

  open(at) {
    if (this.dialog && !this.dialog.open) this.dialog.showModal()
    this.go(at)
  }

  close() { this.dialog?.close() }

  closed() {
    const at = this.at
    this.at = -1
    if (location.hash.length > 1) history.replaceState(null, '', location.pathname + location.search)
    this.refresh(at)
    this.list.querySelector(`[data-at="${at}"] a`)?.focus()
  }

  refresh(at) {
    const old = this.list?.querySelector(`[data-at="${at}"]`)
    if (old) old.replaceWith(this.card(at))
  }

  fill() {
    const at = this.at
    const close = make('button', {type: 'button', 'aria-keyshortcuts': 'Escape'}, 'Close ', make('kbd', {}, 'Esc'))
    close.addEventListener('click', () => this.close())
    const heading = make('h3', {}, this.title(at), ' ', make('small', {className: 'quiet'}, `${this.names[at]} (${this.splits[at]})`))
    const near = this.near ? this.nearest(at) : []
    this.panel.replaceChildren(make('header', {}, heading, ...(this.dialog ? [close] : [])), this.figures(at), this.buttons(at), this.facts(at), ...near, this.evidence(at))
    fit()
  }

  figures(at) {
    const row = make('div', {className: 'row'})
    const add = (layer, words) => {
      const frame = picture(this.sheets, at, `image ${this.names[at]}, ${words}`)
      if (layer >= 0) addMap(frame, this.maps, this.maps.rows[at], layer)
      row.append(make('figure', {}, frame, make('figcaption', {}, words)))
    }
    add(-1, 'the image')
    if (this.maps && this.maps.rows[at] >= 0) this.maps.titles.forEach((title, layer) => add(layer, this.maps.captions[layer].replaceAll('{label}', this.labels[at]).replaceAll('{called}', this.called[at])))
    return row
  }

  buttons(at) {
    const decided = store.known.get(this.idOf(at))
    const make_ = ([decision, [words, key]]) => {
      const button = make('button', {type: 'button', id: decision.split(' ')[0], disabled: !isPossible(this.image(at), decision), 'aria-pressed': decided === decision, 'aria-keyshortcuts': key}, words + ' ', make('kbd', {}, key.toUpperCase()))
      button.addEventListener('click', () => this.decide(decision))
      return button
    }
    const other = (words, key, action) => {
      const button = make('button', {type: 'button', 'aria-keyshortcuts': key}, words + ' ', make('kbd', {}, key.toUpperCase()))
      button.addEventListener('click', action)
      return button
    }
    return make('div', {className: 'buttons', role: 'group', 'aria-label': 'Decide'}, ...Object.entries(DECISIONS).map(make_),
      other('Undo', 'u', () => undo()), other('Previous', 'p', () => this.move(-1)), other('Next', 'n', () => this.move(1)))
  }

  facts(at) {
    const table = make('table', {className: 'facts'})
    const add = (words, ...children) => table.append(make('tr', {}, make('th', {scope: 'row'}, words), make('td', {}, ...children)))
    add('label', this.labels[at])
    add('network says', this.called[at])
    if (this.proposed[at]) add('proposed label', this.proposed[at])
    for (const [words, values] of Object.entries(this.texts)) if (values[at]) add(words, values[at])
    for (const [words, values] of Object.entries(this.shares)) {
      if (values[at] === null) continue
      add(words, make('meter', {value: values[at], 'aria-label': words}), percent(values[at]))
    }
    return table
  }

  evidence(at) {
    const known = Object.entries(this.numbers).filter(([, values]) => values[at] !== null)
    const rows = known.map(([words, values]) => make('tr', {}, make('th', {scope: 'row'}, words), make('td', {}, number(values[at]))))
    const fold = make('details', {open: this.showsEvidence}, make('summary', {}, 'The numbers behind it'), make('table', {className: 'facts'}, ...rows))
    fold.addEventListener('toggle', () => {
      this.showsEvidence = fold.open
      fit()
    })
    return rows.length ? fold : ''
  }

  nearest(at) {
    const {titles, rows, names, labels, distances} = this.near
    return titles.map((title, kind) => {
      const figures = rows[kind][at].map((place, i) => place < 0 ? '' : make('figure', {}, picture(this.nearSheets, place, `training image ${names[place]}, labelled ${labels[place]}`),
        make('figcaption', {}, make('b', {}, labels[place]), ` ${distances[kind][at][i]}`, make('br'), names[place])))
      const known = figures.filter(Boolean)
      const words = title.replaceAll('{label}', this.labels[at]).replaceAll('{called}', this.called[at])
      return known.length ? make('section', {}, make('h4', {}, words), make('div', {className: 'row near'}, ...known)) : ''
    })
  }

  neighbours() { return data.single || !this.places.includes(this.at) ? this.names.map((_, i) => i) : this.places }

  move(step) {
    const places = this.neighbours()
    const next = places[places.indexOf(this.at) + step]
    if (next !== undefined) this.go(next)
  }

  go(at) {
    const before = this.at
    this.at = at
    if (!data.single) history.replaceState(null, '', '#' + encodeURIComponent(this.idOf(at)))
    this.refresh(before)
    this.fill()
  }

  decide(decision) {
    const at = this.at
    if (!isPossible(this.image(at), decision)) return store.say('Not possible here: ' + decision + '.')
    store.past.push([this.idOf(at), decision])
    store.keep()
    const places = this.neighbours()
    const start = places.indexOf(at)
    const known = store.known
    const after = places.map((_, i) => places[(start + 1 + i) % places.length]).find(each => !known.has(this.idOf(each)))
    this.go(after === undefined ? at : after)
    store.say(`${this.names[at]}: ${decision}.` + (after === undefined ? ' All are decided.' : ''))
  }
}

const browsers = data.decks.map(deck => new Browser(deck))
const places = new Map(browsers.flatMap(browser => browser.names.map((_, at) => [browser.idOf(at), [browser, at]])))
const images = new Map([...places].map(([id, [browser, at]]) => [id, browser.image(at)]))

function undo() {
  if (!store.past.length) return
  const [id] = store.past.pop()
  store.keep()
  const [browser, at] = places.get(id)
  if (current() !== browser) current()?.close()
  browser.open(at)
  store.say('Undone.')
}

function current() { return data.single ? browsers[0] : browsers.find(browser => browser.at >= 0) }

function openLinked() {
  let id = ''
  try { id = decodeURIComponent(location.hash.slice(1)) } catch {}
  const [browser, at] = places.get(id) ?? []
  if (browser && browser.at !== at) browser.open(at)
}

function fit() {  // a frame becomes as high as what it holds
  try { if (data.single) frameElement.style.height = document.body.scrollHeight + 4 + 'px' } catch {}
}

function download() {
  const link = make('a', {href: URL.createObjectURL(new Blob([store.text], {type: 'application/json'})), download: 'decisions.json'})
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10000)
}

function copy() {
  part('decisions').open = true
  part('text').select()
  part('copy').textContent = document.execCommand('copy') ? 'Copied' : 'Select the text and copy it'
}

const keys = {u: browser => undo(), p: browser => browser.move(-1), n: browser => browser.move(1), arrowleft: browser => browser.move(-1), arrowright: browser => browser.move(1)}
for (const [decision, [, key]] of Object.entries(DECISIONS)) keys[key] = browser => browser.decide(decision)
document.addEventListener('keydown', event => {
  const browser = current()
  const action = keys[event.key.toLowerCase()]
  const isTyped = ['INPUT', 'TEXTAREA', 'SELECT'].includes(event.target.tagName)
  if (!action || !browser || browser.at < 0 || isTyped || event.ctrlKey || event.metaKey || event.altKey) return
  event.preventDefault()
  action(browser)
})
document.addEventListener('click', event => {  // a cell of the matrix, a row of a table, asks a deck for its images
  const asked = event.target.closest('[data-choose]')
  if (asked) chooseImages(JSON.parse(asked.dataset.choose))
})

// The matrix of many classes: a pixel for each pair, in the order of the page

function drawMatrix(canvas, {classes, cells, totals}) {
  const count = classes.length
  canvas.width = canvas.height = count
  const context = canvas.getContext('2d')
  const style = getComputedStyle(document.body)
  context.fillStyle = style.getPropertyValue('--panel')
  context.fillRect(0, 0, count, count)
  context.fillStyle = style.getPropertyValue('--accent')
  const found = new Map(cells.map(cell => [cell[0] * count + cell[1], cell[2]]))
  for (const [row, column, number] of cells) {
    context.globalAlpha = Math.max(.12, Math.sqrt(number / Math.max(1, totals[row])))
    context.fillRect(column, row, 1, 1)
  }
  const at = event => {
    const box = canvas.getBoundingClientRect()
    return [event.clientY - box.top, event.clientX - box.left].map((place, i) => Math.min(count - 1, Math.floor(count * place / (i ? box.width : box.height))))
  }
  canvas.addEventListener('mousemove', event => {
    const [row, column] = at(event)
    part('matrix-words').textContent = visible(`${found.get(row * count + column) ?? 0} of ${totals[row]} images of ${classes[row]} are called ${classes[column]}`)
  })
  canvas.addEventListener('click', event => {
    const [row, column] = at(event)
    if (row !== column) chooseImages({label: classes[row], 'network says': classes[column]})
  })
}

function chooseImages(wanted) {  // ask the first deck for some of its images
  browsers[0].choose(wanted)
  browsers[0].section.scrollIntoView()
  browsers[0].search.focus({preventScroll: true})
}

if (data.matrix) drawMatrix(part('matrix-canvas'), data.matrix)
part('download')?.addEventListener('click', download)
part('copy')?.addEventListener('click', copy)
part('decisions')?.addEventListener('toggle', fit)
addEventListener('hashchange', openLinked)
addEventListener('resize', fit)
store.load()
store.keep()
store.say(images.size ? '' : 'There is nothing to review.')
if (data.single && images.size) browsers[0].open(Math.max(0, browsers[0].names.findIndex((_, at) => !store.known.has(browsers[0].idOf(at)))))
else for (const browser of browsers) browser.show()
openLinked()
