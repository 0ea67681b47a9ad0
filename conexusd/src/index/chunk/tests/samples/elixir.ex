defmodule Bank.Account do
  @moduledoc "Accounts."
  use GenServer
  import Ecto.Query
  alias Bank.{User, Entry}
  require Logger

  @timeout 5_000
  defstruct [:id, :name]
  @type t :: %__MODULE__{}

  @callback changed(t) :: :ok

  @doc """
  Adds numbers.
  """
  @spec add(integer, integer) :: integer
  def add(a, b) when is_integer(a) do
    a + b
  end

  def add(a, _), do: a

  defp hidden, do: 1

  defmacro twice(x) do
    quote do: unquote(x) * 2
  end
end

defprotocol Size do
  def size(data)
end

defimpl Size, for: Map do
  def size(map), do: map_size(map)
end
