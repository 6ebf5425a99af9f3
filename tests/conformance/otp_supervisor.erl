%% Runs supervision trees of OTP's own supervisor, as a batch file describes them, and prints what they did.
%%
%% The file holds one Erlang term for each case:
%%   {Name, Sup, Steps}
%%   Sup   = {Strategy, Intensity, AutoShutdown, [Child]}
%%   Child = {worker, Id, Restart, Significant, FailingStarts} | {supervisor, Id, Restart, Sup}
%%   Step  = {exit, Id, Reason} | {kill, Id} | {terminate, Id} | {restart, Id} | {delete, Id}
%% One line is printed for the start and one for each step: what was started and stopped, in order, then who lives.
-module(otp_supervisor).
-behaviour(supervisor).
-export([main/1, init/1, start_worker/1, worker/2]).

main([File]) ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    {ok, Cases} = file:consult(File),
    lists:foreach(fun run/1, Cases),
    halt(0).

run({Name, Sup, Steps}) ->
    ets:new(log, [named_table, public, ordered_set]),
    ets:new(starts, [named_table, public]),
    ets:new(where, [named_table, public]),
    {ok, Top} = supervisor:start_link(?MODULE, Sup),
    report(Name, 0, Top),
    steps(Name, 1, Top, Steps),
    case is_process_alive(Top) of
        true ->
            Ref = monitor(process, Top),
            exit(Top, shutdown),
            receive {'DOWN', Ref, process, Top, _} -> ok end,
            report(Name, shutdown, Top);
        false -> ok
    end,
    flush(),
    [ets:delete(Table) || Table <- [log, starts, where]].

flush() -> receive _ -> flush() after 0 -> ok end.

steps(_, _, _, []) -> ok;
steps(Name, Number, Top, [Step | Rest]) ->
    case is_process_alive(Top) of
        true ->
            step(Step, Top),
            report(Name, Number, Top),
            steps(Name, Number + 1, Top, Rest);
        false -> ok
    end.

step({exit, Id, Reason}, Top) -> finish(Id, Top, fun(Pid) -> Pid ! {finish, Reason} end);
step({kill, Id}, Top) -> finish(Id, Top, fun(Pid) -> exit(Pid, kill) end);
step({terminate, Id}, Top) -> supervisor:terminate_child(Top, Id), settle(Top, none);
step({restart, Id}, Top) -> supervisor:restart_child(Top, Id), settle(Top, none);
step({delete, Id}, Top) -> supervisor:delete_child(Top, Id), settle(Top, none).

finish(Id, Top, How) ->
    case ets:lookup(where, Id) of
        [{Id, Pid}] ->
            case is_process_alive(Pid) of
                true ->
                    Ref = monitor(process, Pid),
                    How(Pid),
                    receive {'DOWN', Ref, process, Pid, _} -> ok end,
                    settle(Top, Pid);
                false -> ok
            end;
        [] -> ok
    end.

%% Until no supervisor has anything left to do about the end of Gone.
settle(Top, Gone) ->
    case quiet(Top, Gone) of
        true -> ok;
        false -> case is_process_alive(Top) of
                     true -> erlang:yield(), settle(Top, Gone);
                     false -> ok
                 end
    end.

quiet(Sup, Gone) ->
    try supervisor:which_children(Sup) of
        Children -> lists:all(fun(Child) -> quiet_child(Child, Gone) end, Children)
    catch
        exit:_ -> false
    end.

quiet_child({_, restarting, _, _}, _) -> false;
quiet_child({_, undefined, _, _}, _) -> true;
quiet_child({_, Pid, _, _}, Pid) -> false;
quiet_child({_, Pid, supervisor, _}, Gone) -> quiet(Pid, Gone);
quiet_child({_, Pid, worker, _}, _) -> is_process_alive(Pid).

report(Name, Number, Top) ->
    Did = [What || {_, What} <- ets:tab2list(log)],
    ets:delete_all_objects(log),
    Alive = lists:sort([Id || {Id, Pid} <- ets:tab2list(where), is_process_alive(Pid)]),
    State = case is_process_alive(Top) of true -> "up"; false -> "down" end,
    Words = [io_lib:format(" ~s:~s", [Verb, Id]) || {Verb, Id} <- Did],
    Lives = [io_lib:format(" ~s", [Id]) || Id <- Alive],
    io:format("~s ~p~s | ~s |~s~n", [Name, Number, Words, State, Lives]).

%% --- the trees

init({Strategy, Intensity, AutoShutdown, Children}) ->
    Flags = #{strategy => Strategy, intensity => Intensity, period => 36000, auto_shutdown => AutoShutdown},
    {ok, {Flags, [spec(Child) || Child <- Children]}}.

spec({worker, Id, Restart, Significant, Failing}) ->
    #{id => Id, start => {?MODULE, start_worker, [{Id, Failing}]}, restart => Restart, shutdown => 5000,
      type => worker, significant => Significant};
spec({supervisor, Id, Restart, Sup}) ->
    #{id => Id, start => {supervisor, start_link, [?MODULE, Sup]}, restart => Restart, shutdown => infinity,
      type => supervisor}.

start_worker({Id, Failing}) ->
    Count = ets:update_counter(starts, Id, 1, {Id, 0}),
    note(start, Id),
    case lists:member(Count, Failing) of
        true -> {error, as_the_case_says};
        false -> proc_lib:start_link(?MODULE, worker, [self(), Id])
    end.

worker(Parent, Id) ->
    process_flag(trap_exit, true),
    ets:insert(where, {Id, self()}),
    proc_lib:init_ack(Parent, {ok, self()}),
    receive
        {finish, Reason} -> exit(Reason);
        {'EXIT', Parent, Reason} -> note(stop, Id), exit(Reason)
    end.

note(Verb, Id) ->
    ets:insert(log, {erlang:unique_integer([monotonic]), {Verb, Id}}).
