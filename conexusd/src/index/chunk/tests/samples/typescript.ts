import type { Options } from './options';
import fs = require('fs');

export interface Shape<T> extends Base {
  area(): number;
  name: string;
}

export type Id = string | number;

export enum Color {
  Red,
  Green = 'green',
}

declare module 'other' {
  export function external(): void;
}

namespace Geometry.Flat {
  export const origin = { x: 0, y: 0 };
}

function parse(text: string): Id;
function parse(text: number): Id;
function parse(text: any): Id {
  return text;
}

/** A widget. */
@Component({ selector: 'widget' })
export abstract class Widget<T> implements Shape<T> {
  @Input() name: string;
  private readonly cache = new Map<string, T>();

  constructor(private http: Http) {
    super();
  }

  abstract area(): number;

  @HostListener('click')
  onClick(event?: Event): void {
    this.cache.clear();
  }

  load = async (id: Id): Promise<T> => {
    return this.http.get(id);
  };
}

export const useWidget = <T,>(widget: Widget<T>): T => widget.load(1);
declare const VERSION: string;
