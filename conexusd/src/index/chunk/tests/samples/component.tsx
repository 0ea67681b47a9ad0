import { useState } from 'react';

type Props = { title: string; onClose?: () => void };

/** A dialog. */
export function Dialog({ title, onClose }: Props) {
  const [open, setOpen] = useState(true);
  const close = () => {
    setOpen(false);
    onClose?.();
  };
  return (
    <section hidden={!open}>
      <h1>{title}</h1>
      <button onClick={close}>Close</button>
    </section>
  );
}

export default () => <Dialog title="hello" />;
