import React, { useState } from 'react';
import './side-effect';
export * from './all';
export { b as c } from "./b";
const fs = require('fs');
const { join } = require('path');

// How often.
export const RETRIES = 3;

export const add = (a, b) => a + b;
const view = React.memo(function View({ items }) {
  return <ul>{items.map((item) => <li key={item.id}>{item.name}</li>)}</ul>;
});

/**
 * A queue.
 */
export default class Queue extends Base {
  #items = [];
  static count = 0;
  onDone = () => {
    this.#items = [];
  };

  constructor(options) {
    super(options);
    const local = 1;
  }

  get size() { return this.#items.length; }

  static async *drain(queue) {
    while (queue.size) yield queue.pop();
  }
}

function* numbers() { yield 1; }

Queue.prototype.peek = function () {
  return this.first;
};
exports.parse = function parse(text) { return text; };
module.exports = {
  helper: async () => {
    const page = await import('./page');
    return page;
  },
  render() { return null; },
};
