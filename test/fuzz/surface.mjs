// All that a user of the package can call, found by looking at the package itself: what is added to it is played with from
// then on, and a class of objects that nothing here makes is an error rather than an omission.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const builtin = new Set([Object.prototype, Function.prototype, Error.prototype, Array.prototype, null]);

/** The classes and methods that their declarations call internal or private, as 'Class' and 'Class.member'. */
function internals(folder) {
  const found = new Set();
  for (const entry of readdirSync(folder, { recursive: true })) {
    if (!entry.endsWith('.d.ts')) continue;
    let name = '';
    let marked = false;
    for (const line of readFileSync(join(folder, entry), 'utf8').split('\n')) {
      name = /^export declare (?:abstract )?class (\w+)/.exec(line)?.[1] ?? name;
      if (line.includes('@internal')) marked = true;
      const member = /^ {4}(?:static |get |protected |private )*([\w#]+)[(<:?]/.exec(line)?.[1];
      if (!member) continue;
      if (marked || /^ {4}(?:private|protected) /.test(line)) found.add(`${name}.${member}`);
      marked = false;
    }
  }
  if (found.size === 0) throw new Error(`there are no declarations in ${folder}: nobody knows what is internal`);
  return found;
}

/** The names in a parameter list, and those that a call takes out of an object of options. */
function parametersOf(callable, text = Function.prototype.toString.call(callable)) {
  const source = text.startsWith('class') ? (/constructor(\([\s\S]*)/.exec(text)?.[1] ?? '()') : text;
  const list = [];
  let depth = 0;
  let word = '';
  for (const sign of source.slice(source.indexOf('('))) {
    if ('([{'.includes(sign)) depth++;
    if (')]}'.includes(sign)) depth--;
    if (depth === 0 || (depth === 1 && sign === ',')) {
      if (word) list.push(word);
      word = '';
      if (depth === 0) break;
    } else if (!(depth === 1 && sign === '(')) word += sign;
  }
  const names = (braces) => [...braces.matchAll(/(?:^|,)\s*(?:'([^']+)'|(\w+))/g)].map((match) => match[1] ?? match[2]);
  const taken = [...source.matchAll(/const \{([^{}]*)\} = (\w*[oO]ptions\([^;]*|given)/g)].flatMap(([, inner]) =>
    names(inner),
  );
  return list.map((parameter) => {
    const name = /^[\s.]*(\w+)/.exec(parameter)?.[1];
    if (name === undefined) return { name: 'options', fields: names(parameter.replace(/[{}]/g, '')) };
    const takes = /^(?:given|options|region|how)$/.test(name) || parameter.includes('{}');
    return { name, fields: takes ? taken : undefined };
  });
}

function members(prototype) {
  const found = new Map();
  for (let at = prototype; !builtin.has(at) && at; at = Object.getPrototypeOf(at))
    for (const key of Reflect.ownKeys(at))
      if (!found.has(key)) found.set(key, Object.getOwnPropertyDescriptor(at, key));
  found.delete('constructor');
  return found;
}

const isClass = (value) => typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value));

/**
 * @param library the package's exports
 * @param folder where its declarations are
 * @param extra classes that are not exported, whose objects calls give back
 * @returns everything that can be called: `owner` is the class that a receiver must be of, where there is one
 */
export function surfaceOf(library, folder, extra) {
  const hidden = internals(folder);
  const found = [];
  const add = (name, how, callable, owner) =>
    found.push({ name, how, callable, owner, parameters: callable ? parametersOf(callable) : [] });
  const classes = new Set(extra);
  for (const [name, value] of Object.entries(library)) {
    if (isClass(value)) classes.add(value);
    else if (typeof value === 'function') add(name, 'call', value);
  }
  for (const type of classes) {
    add(`new ${type.name}`, hidden.has(`${type.name}.constructor`) ? 'forge' : 'construct', type);
    for (const key of Reflect.ownKeys(type))
      if (typeof type[key] === 'function' && !hidden.has(`${type.name}.${String(key)}`))
        add(`${type.name}.${String(key)}`, 'static', type[key], type);
    const owners = [];
    for (let at = type; typeof at === 'function' && at.name; at = Object.getPrototypeOf(at)) owners.push(at.name);
    for (const [key, { value, get }] of members(type.prototype)) {
      if (owners.some((owner) => hidden.has(`${owner}.${String(key)}`))) continue;
      const name = `${type.name}.prototype.${String(key)}`;
      if (get) add(name, 'get', get, type);
      else if (typeof value === 'function') add(name, 'method', value, type);
    }
  }
  return { calls: found, classes };
}
