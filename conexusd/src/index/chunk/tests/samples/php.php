<?php
namespace App\Accounts;

use App\Models\User;
use Foo\{Bar, Baz as Other};
use function Foo\helper;

require_once __DIR__ . '/bootstrap.php';
const LIMIT = 3;
define('DEBUG', true);

/** Keeps accounts. */
#[Entity]
final class Account extends Base implements Countable
{
    use Loggable;

    public const MAX = 3;
    private ?string $name = null;

    public function __construct(private int $id)
    {
        $this->name = 'none';
    }

    public static function make(int $id): static { return new static($id); }
}

interface Listener { public function changed(): void; }
trait Loggable { }
enum Suit: string { case Hearts = 'H'; case Spades = 'S'; }

function total(array $accounts): int
{
    return array_sum(array_map(fn($a) => $a->id, $accounts));
}
?>
<html></html>
